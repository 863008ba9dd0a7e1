//! Bugs of others and bugs found here, none of which comes back.

mod bugs;
mod dead_ends;
mod findings;
