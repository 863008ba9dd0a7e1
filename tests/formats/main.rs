//! The bytes of every format, and what a reader must give for them.

mod golden;
mod json;
mod reader;
mod vectors;
