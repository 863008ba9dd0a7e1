//! Writes the inputs that each fuzz target starts from, made from real bundles, to a folder per
//! target: `cargo run -p stillboot-sim --example fuzz_seeds -- FOLDER`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

use stillboot_sim::fuzz::{TARGETS, seeds};

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: expected a folder to write the seeds to");
        return ExitCode::FAILURE;
    };
    let names = TARGETS.into_iter().map(|(name, _)| name).chain(["canary"]);
    match names.into_iter().try_for_each(|name| write(&folder.join(name), name)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path, name: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    seeds(name)
        .into_iter()
        .enumerate()
        .try_for_each(|(number, seed)| fs::write(folder.join(format!("seed-{number}")), seed))
}
