//! The bytes of every format, and what a reader must give for them.

mod codes;
mod golden;
mod json;
mod limits;
mod properties;
mod reader;
mod vectors;
