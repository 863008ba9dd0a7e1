//! A bundle from web servers, files and the slots of this device, as one stream.

#![forbid(unsafe_code)]

pub mod http;
