//! Compiles in whom the firmware trusts, and for which device it is:
//!
//! - `STILLBOOT_ROOTS`: the file of roots, as `stillboot keygen` writes it; by default the roots of
//!   the test suite, which are worth nothing, and which the loader says when it starts;
//! - `STILLBOOT_CLASS`: the device class, a name or its UUID.

use std::env;
use std::path::PathBuf;

use stillboot_build::{BuildError, Identity};

const TEST_ROOTS: &str = "../../../tests/data/test-keys/roots.toml";

fn main() -> Result<(), BuildError> {
    for name in ["STILLBOOT_ROOTS", "STILLBOOT_CLASS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let path = env::var_os("STILLBOOT_ROOTS").map_or_else(|| TEST_ROOTS.into(), PathBuf::from);
    let class = env::var("STILLBOOT_CLASS").unwrap_or_else(|_| "test".into());
    Identity::read(path, &class)?.with_revision(1).write()
}
