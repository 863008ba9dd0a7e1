//! `bundle compress` and `bundle expand`: the same bundle in another file.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot_release::frames::{self, Compression, FramesError};

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::{files, size, view};

/// Subcommands of `bundle`.
#[derive(Subcommand, Debug)]
pub enum BundleCommand {
    /// Writes a bundle as a framed file, each chunk compressed by itself
    #[command(after_help = "Examples:\n  \
        stillboot bundle compress update.sbb --out update.sbz\n  \
        stillboot bundle compress firmware.sbb --compress lzma --out firmware.sbz\n\n\
        The bundle in it stays the same, byte for byte: its signatures hold, and every command\n\
        that reads a bundle reads the file. Chunks are compressed on all cores, and the same\n\
        bundle gives the same file.")]
    Compress(CompressArgs),
    /// Writes the bundle that is in a framed file
    #[command(after_help = "Example:\n  stillboot bundle expand update.sbz --out update.sbb")]
    Expand(ExpandArgs),
}

/// Options of `bundle compress`.
#[derive(Args, Debug)]
pub struct CompressArgs {
    /// The bundle; `-` reads standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// zstd, zstd:LEVEL (1 to 22), lz4, lzma, or none, which leaves out zeros only. Linux decodes
    /// all of them; a microcontroller has lz4 and lzma
    #[arg(long, value_name = "HOW", default_value = "zstd")]
    compress: Compression,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Options of `bundle expand`.
#[derive(Args, Debug)]
pub struct ExpandArgs {
    /// The framed file; `-` reads standard input
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// The bundle to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs a subcommand.
pub fn run(command: &BundleCommand, out: &Output) -> Result<(), Failure> {
    match command {
        BundleCommand::Compress(args) => compress(args, out),
        BundleCommand::Expand(args) => expand(args, out),
    }
}

fn compress(args: &CompressArgs, out: &Output) -> Result<(), Failure> {
    let mut bundle = Bundle::open(&args.bundle, "bundle compress", out)?;
    let plain = bundle.len().unwrap_or_default();
    let (outline, len) = files::replace_file(&args.out, &[&args.bundle], |file| {
        let mut progress = Progress::new(out, "compressing", plain);
        let mut set = |done| progress.set(done);
        frames::compress(&mut bundle.reading(), args.compress, file, &mut set)
            .map_err(|error| explain(error, &mut bundle, args.bundle.as_path(), &args.out))
    })?;
    tell(&args.out, &outline.digest, outline.bundle_len(), len, out);
    Ok(())
}

fn expand(args: &ExpandArgs, out: &Output) -> Result<(), Failure> {
    let mut bundle = Bundle::open(&args.bundle, "bundle expand", out)?;
    let (outline, len) = files::replace_file(&args.out, &[&args.bundle], |file| {
        let mut progress = Progress::new(out, "expanding", 0);
        let mut set = |done, total| {
            progress.set_total(total);
            progress.set(done);
        };
        frames::expand(&mut bundle.reading(), file, &mut set)
            .map_err(|error| explain(error, &mut bundle, args.bundle.as_path(), &args.out))
    })?;
    tell(&args.out, &outline.digest, outline.bundle_len(), len, out);
    Ok(())
}

/// The failure that `error` is, where `bundle` was read from `path` and written to `to`.
fn explain(error: FramesError, bundle: &mut Bundle, path: &Path, to: &Path) -> Failure {
    match error {
        FramesError::Io(error) => match bundle.failure() {
            Some(failure) => failure,
            None => Failure::system("write", to, &error),
        },
        error => Failure::new(Exit::Refused, "bundle", format_args!("{}: {error}", path.display())),
    }
}

fn tell(path: &Path, digest: &[u8; 32], plain: u64, len: u64, out: &Output) {
    let path_shown = path.display();
    match len == plain {
        true => out.line(format_args!("{path_shown}: a bundle of {}", size::show(len))),
        false => out.line(format_args!(
            "{path_shown}: {}, a bundle of {}",
            size::show(len),
            size::show(plain)
        )),
    }
    out.line(format_args!("digest {}", view::hex(digest)));
    out.result(|| {
        json!({
            "file": view::path(path), "length": len, "bundle_length": plain,
            "digest": view::hex(digest),
        })
    });
}
