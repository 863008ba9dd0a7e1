//! The bytes of every format, and what a reader must give for them; the pages, against the code.

mod codes;
mod golden;
mod json;
mod limits;
mod pages;
mod properties;
mod reader;
mod speccheck;
mod transport;
mod vectors;
