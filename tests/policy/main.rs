//! Every rule of the policy, and the texts that it reads.

mod parts;
mod verdicts;
