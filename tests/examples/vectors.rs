//! Writes the test vectors to a folder, in the place of what is there:
//! `cargo run -p stillboot-tests --example vectors -- FOLDER`.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use stillboot_tests::vectors::{files, write};

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: expected a folder to write the vectors to");
        return ExitCode::FAILURE;
    };
    match write(&folder) {
        Ok(()) => {
            let lengths: usize = files().iter().map(|(_, bytes)| bytes.len()).sum();
            println!("{}: {} files, {lengths} bytes", folder.display(), files().len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
