//! Runs the core's machines, and remembers what they did.
//!
//! A machine is deterministic: what it asks for next follows from its state and from the result of
//! its last request. So the requests of all runs form a graph, whose nodes are states of machines
//! and whose edges are results of requests. A run whose results are all known follows the graph:
//! every request is carried out on the disk at hand, and only the computation in between, above all
//! the signatures, is not done again. The first result that is new starts the core itself.
//!
//! A state is named by everything that a machine prints of itself, everything that its digests have
//! taken, the memory it loaded to and the buffer as far as it may be used. Nothing here knows what
//! the core does with any of it; `tests/sim/explore.rs` compares runs with and without the graph.

mod boot;
mod graph;
mod install;
mod machine;
mod perform;
mod print;
mod program;
mod request;
mod stream;

pub use graph::{Engine, Instant};
pub use program::{HandoverFailure, Outcome, Program, Setting, Started};
pub use request::{Disks, MachineRequest};
