//! Every instant of every story: the disk is forked before each change, the power is cut in every
//! possible way, and the [`oracle`](crate::oracle) judges what follows.
//!
//! A point is one cut, or two at depth two. After it the power comes on, and from there two ways
//! are taken. On the first, what was interrupted is done again and then an update follows without
//! help. On the second, the update follows at once. Each power-on on the way is judged. A point
//! counts once its outcome is known: either it was run, or its disk, store and history are equal to
//! those of a point that was run. Each point has an identity, which [`replay`](fn@replay) runs again
//! and describes.

mod cut;
mod damage;
mod disk;
mod draw;
mod effort;
mod faults;
mod job;
mod medium;
mod observer;
mod point;
mod programs;
mod recovery;
mod replay;
mod scrub;
mod second;
mod situation;
mod steps;
mod summary;
mod sweep;
mod tampering;

pub(crate) use damage::GARBAGE;
pub(crate) use disk::Disk;
pub use effort::{Effort, Memory};
pub(crate) use faults::row_of_fault;
pub use medium::{Medium, media};
pub use observer::Observer;
pub use replay::replay;
pub use summary::{Finding, Summary, SweepCounts};
pub use sweep::{explore, explore_observed};
