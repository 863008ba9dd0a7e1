//! `delta`: a patch from one bundle to another.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillboot_release::delta::{self, DeltaError, Full};
use stillboot_release::frames::Compression;

use crate::failure::{Exit, Failure};
use crate::near::name_end;
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::{files, size, view};

/// Options of `delta`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    stillboot delta v1.sbb v2.sbb --out v2.FROMDIGEST.sbd\n  \
    stillboot delta v1.sbb v2.sbb --whole --compress lzma --out firmware.sbd\n\n\
    A device that runs OLD installs NEW with it: `stillboot install NEW --delta FILE`. Named\n\
    NEW.FROMDIGEST.sbd, with the first 16 digits of OLD's digest, it is found beside NEW. Chunks\n\
    that are shorter in NEW itself are taken from there, so NEW is needed too; with --whole the\n\
    patch has everything. Microcontrollers need --compress lzma, lz4 or none with it. A patch has\n\
    no signature: what it gives is compared with the signed index of NEW, and a wrong one costs\n\
    bytes only.\n\n\
    It takes about six times the length of OLD in memory besides OLD and NEW.")]
pub struct DeltaArgs {
    /// The bundle that devices run
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The bundle that they get
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Also hold what is no shorter as a difference: the patch alone is enough then
    #[arg(long)]
    whole: bool,
    /// How NEW is compressed where devices fetch it, or what is in a --whole patch: zstd,
    /// zstd:LEVEL, lz4, lzma or none
    #[arg(long, value_name = "HOW", default_value = "zstd")]
    compress: Compression,
    /// The patch to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes a patch.
pub fn delta(args: &DeltaArgs, out: &Output) -> Result<(), Failure> {
    let (old, new) = (whole(&args.old, out)?, whole(&args.new, out)?);
    let full = match args.whole {
        true => Full::Whole(args.compress),
        false => Full::Absent(args.compress),
    };
    let written = files::replace_file(&args.out, &[&args.old, &args.new], |file| {
        // Each byte is looked at twice: what it resembles, and how that is written.
        let mut progress = Progress::new(out, "comparing", 2 * new.len() as u64);
        delta::write(&old, &new, full, file, &mut |done| progress.set(done))
            .map_err(|error| explain(error, args))
    })?;
    let plain = new.len() as u64;
    out.line(format_args!(
        "{}: {} for a bundle of {}; {} of it are in the bundle only",
        args.out.display(),
        size::show(written.len),
        size::show(plain),
        size::show(written.absent.1)
    ));
    let end = name_end(&written.old.digest);
    if !args.whole && !args.out.as_os_str().as_encoded_bytes().ends_with(end.as_bytes()) {
        out.line(format_args!(
            "devices find it by itself where its name is that of NEW with {end}"
        ));
    }
    out.line(format_args!("from   {}", view::hex(&written.old.digest)));
    out.line(format_args!("digest {}", view::hex(&written.new.digest)));
    out.result(|| {
        json!({
            "patch": view::path(&args.out), "length": written.len,
            "from": view::hex(&written.old.digest), "digest": view::hex(&written.new.digest),
            "bundle_length": plain, "patched": written.patched.1, "absent": written.absent.1,
        })
    });
    Ok(())
}

/// All bytes of the bundle at `path`.
fn whole(path: &Path, out: &Output) -> Result<Vec<u8>, Failure> {
    Bundle::open(path, "delta", out)?.rest()
}

fn explain(error: DeltaError, args: &DeltaArgs) -> Failure {
    let refused = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Refused, "bundle", format_args!("{}: {error}", path.display()))
    };
    match error {
        DeltaError::Io(error) => Failure::system("write", &args.out, &error),
        DeltaError::Old(error) => refused(&args.old, &error),
        DeltaError::New(error) => refused(&args.new, &error),
        DeltaError::TooLong(_) => Failure::new(Exit::Refused, "bundle", error),
        error => Failure::usage(error),
    }
}
