//! The tool for release engineers, operators and initramfs scripts.
//!
//! The tool decides nothing itself: the core does. The tool has the words, files and exit codes
//! that scripts depend on.
//!
//! # Features
//!
//! - `lab`, on by default: the commands `demo` and `simulate`, and with them the simulator
//!   `stillboot-sim`. The tool for devices (`cargo xtask static-tool`) is built without it.

#![forbid(unsafe_code)]

mod args;
mod boot;
mod bounds;
mod bundle;
mod delta;
#[cfg(feature = "lab")]
mod demo;
mod discard;
mod disk;
mod dtb;
mod failure;
mod fetch;
mod files;
mod http;
mod id;
mod inspect;
mod install;
mod issue;
mod judge;
mod keys;
mod keyset;
mod latest;
mod live;
mod near;
mod number;
mod operator;
mod output;
mod overlay;
mod pack;
mod pcr;
mod policy;
mod preview;
mod progress;
mod promote;
mod record;
mod request;
mod room;
mod scrub;
mod seen;
mod sign;
mod signers;
#[cfg(feature = "lab")]
mod simulate;
mod size;
mod source;
mod start;
mod statement;
mod statements;
mod status;
mod stub;
mod time;
mod verdict;
mod verify;
mod view;
mod whole;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use failure::{Exit, Failure};
use output::Output;

/// A/B updates that always still boot.
#[derive(Parser, Debug)]
#[command(name = "stillboot", version, about, subcommand_required = true)]
#[command(after_help = "Example:\n  \
    stillboot keygen --out keys --product gateway\n  \
    stillboot install update.sbb --disk /dev/sda --roots keys/roots.toml --class model-1\n\n\
    Exit codes: 0 done, 1 failed, 2 usage, 3 deferred (try later), 4 refused (will not be\n\
    accepted as it is), 5 nothing to do.")]
struct Cli {
    /// Print one JSON object on standard output instead of text, for errors too
    #[arg(long, global = true)]
    json: bool,
    /// Do not show progress
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Plays the whole life of one update on a disk image in a temporary folder
    #[cfg(feature = "lab")]
    #[command(after_help = "Examples:\n  stillboot demo\n  stillboot demo --seed 7 --keep")]
    Demo(demo::Options),
    /// Makes the keys of a product and its first keyset
    Keygen(keys::KeygenArgs),
    /// Shows the id of the name of a product or a device class
    Id(id::IdArgs),
    /// Creates keysets, rotates and revokes keys, shows which key may sign what
    #[command(subcommand, after_help = "Example:\n  stillboot keyset show keys/keyset.sbk")]
    Keyset(keyset::KeysetCommand),
    /// Packs components into a signed bundle
    Pack(Box<pack::PackArgs>),
    /// Compresses bundles, and expands them again
    #[command(
        subcommand,
        after_help = "Example:\n  stillboot bundle compress update.sbb \
        --out update.sbz"
    )]
    Bundle(bundle::BundleCommand),
    /// Makes a patch: a new bundle as differences from an old one
    Delta(delta::DeltaArgs),
    /// Adds a signature to a bundle, keyset or statement
    Sign(sign::SignArgs),
    /// Issues the statement that offers a bundle one channel closer to stable
    Promote(Box<promote::PromoteArgs>),
    /// Issues statements about a bundle: sign-offs and approvals
    #[command(
        subcommand,
        after_help = "Example:\n  stillboot statement sign-off update.sbb \
        --roots keys/roots.toml \\\n    --name tests --key keys/sign-off-1.pem --out tests.sbs"
    )]
    Statement(statement::StatementCommand),
    /// Shows what a bundle claims to be, without verifying it
    Inspect(inspect::InspectArgs),
    /// Verifies every byte of a bundle
    Verify(verify::VerifyArgs),
    /// Fetches a bundle from a web server into a file, and verifies every byte of it
    Fetch(Box<fetch::FetchArgs>),
    /// Creates, shows and repairs disks
    #[command(subcommand, after_help = "Example:\n  stillboot disk create disk.img")]
    Disk(disk::DiskCommand),
    /// Packs, checks and shows sets of device trees, and shows which tree a machine gets
    #[command(subcommand, after_help = "Example:\n  stillboot dtb pack trees/ --out dtbs.bin")]
    Dtb(dtb::DtbCommand),
    /// Builds images for UEFI that contain a whole bundle
    #[command(
        subcommand,
        after_help = "Example:\n  stillboot stub build update.sbb --stub stillboot-stub-aa64.efi \\\n    \
            --roots keys/roots.toml --class laptops --out vmlinuz.efi"
    )]
    Stub(stub::StubCommand),
    /// Predicts what loaders measure into a TPM
    #[command(
        subcommand,
        after_help = "Example:\n  stillboot pcr predict update.sbb --roots keys/roots.toml \
            --class model-1"
    )]
    Pcr(pcr::PcrCommand),
    /// Installs a bundle into the slot that is not running
    #[command(after_help = "Examples:\n  \
        stillboot install update.sbb --disk /dev/sda --roots keys/roots.toml --class model-1\n  \
        stillboot install update.sbb --disk disk.img --roots keys/roots.toml --class model-1 \
        --offline\n  \
        curl https://example.org/update.sbb | stillboot install - --disk /dev/sda \\\n    \
          --roots keys/roots.toml --class model-1")]
    Install(install::InstallArgs),
    /// Continues an interrupted installation
    #[command(after_help = "Example:\n  \
        stillboot resume update.sbb --disk /dev/sda --roots keys/roots.toml --class model-1\n\n\
        Exits 5 when there is nothing to resume.")]
    Resume(install::InstallArgs),
    /// Asks the policy about a bundle
    #[command(
        subcommand,
        after_help = "Example:\n  stillboot policy check update.sbb --disk disk.img \\\n    \
            --roots keys/roots.toml --class model-1 --offline"
    )]
    Policy(policy::PolicyCommand),
    /// Simulates a power-on: does with this disk what a loader would do
    Boot(boot::BootArgs),
    /// Shows what the next power-on would start, and writes nothing
    Next(boot::NextArgs),
    /// Shows the boot record
    Status(status::StatusArgs),
    /// Confirms that the running system is healthy
    MarkGood(operator::MarkGoodArgs),
    /// Marks a slot as bad, and bans the update in it
    MarkBad(operator::MarkBadArgs),
    /// Goes back to the other good slot
    Rollback(operator::RollbackArgs),
    /// Cancels the update that waits or is on trial, without banning it
    Cancel(operator::CancelArgs),
    /// Lifts the ban on an update that failed here, so that it can be installed again
    Forget(operator::ForgetArgs),
    /// Keeps a slot from being replaced, or holds all updates
    Hold(operator::HoldArgs),
    /// Ends a hold
    Unhold(operator::UnholdArgs),
    /// Commands for the boot record itself
    #[command(
        subcommand,
        after_help = "Example:\n  stillboot record discard --version 2 --offline --disk disk.img"
    )]
    Record(discard::RecordCommand),
    /// Reads every slot in full and shows whether it verifies
    Scrub(scrub::ScrubArgs),
    /// Cuts the power at every instant of every story, on simulated disks
    #[cfg(feature = "lab")]
    Simulate(simulate::SimulateArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let out = Output::new(cli.json, cli.quiet);
    ExitCode::from(match run(&cli.command, &out) {
        Ok(()) => out.finish(),
        Err(failure) => out.fail(&failure),
    })
}

fn run(command: &Command, out: &Output) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "lab")]
        Command::Demo(options) => demo::demo(options, out),
        Command::Keygen(args) => keys::keygen(args, out),
        Command::Id(args) => id::id(args, out),
        Command::Keyset(command) => keyset::run(command, out),
        Command::Pack(args) => pack::pack(args, out),
        Command::Bundle(command) => bundle::run(command, out),
        Command::Delta(args) => delta::delta(args, out),
        Command::Sign(args) => sign::sign(args, out),
        Command::Promote(args) => promote::promote(args, out),
        Command::Statement(command) => statement::statement(command, out),
        Command::Inspect(args) => inspect::inspect(args, out),
        Command::Verify(args) => verify::verify(args, out),
        Command::Fetch(args) => fetch::fetch(args, out),
        Command::Disk(disk::DiskCommand::Create(args)) => disk::create(args, out),
        Command::Disk(disk::DiskCommand::Show(args)) => disk::show(args, out),
        Command::Disk(disk::DiskCommand::Repair(args)) => disk::repair(args, out),
        Command::Dtb(command) => dtb::run(command, out),
        Command::Stub(command) => stub::run(command, out),
        Command::Pcr(command) => pcr::run(command, out),
        Command::Install(args) => install::install(args, false, out),
        Command::Resume(args) => install::install(args, true, out),
        Command::Policy(policy::PolicyCommand::Check(args)) => policy::check(args, out),
        Command::Boot(args) => boot::boot(args, out),
        Command::Next(args) => boot::next(args, out),
        Command::Status(args) => status::status(args, out),
        Command::MarkGood(args) => operator::mark_good(args, out),
        Command::MarkBad(args) => operator::mark_bad(args, out),
        Command::Rollback(args) => operator::rollback(args, out),
        Command::Cancel(args) => operator::cancel(args, out),
        Command::Forget(args) => operator::forget(args, out),
        Command::Hold(args) => operator::hold(args, out),
        Command::Unhold(args) => operator::unhold(args, out),
        Command::Record(discard::RecordCommand::Discard(args)) => discard::discard(args, out),
        Command::Scrub(args) => scrub::scrub(args, out),
        #[cfg(feature = "lab")]
        Command::Simulate(args) => simulate::simulate(args, out),
    }
}

/// The commands that need the feature `lab`; none are missing in a build with it.
// Why: docs/DESIGN.md#why-lab-is-a-feature
const LAB_COMMANDS: &[&str] = if cfg!(feature = "lab") { &[] } else { &["demo", "simulate"] };

/// Which command of [`LAB_COMMANDS`] a command line asks for.
fn lab_command(mut args: impl Iterator<Item = OsString>) -> Option<&'static str> {
    // The options before a command take no values.
    let is_command = |arg: &OsString| arg != "help" && !arg.as_encoded_bytes().starts_with(b"-");
    let command = args.find(is_command)?;
    LAB_COMMANDS.iter().copied().find(|name| command == **name)
}

/// Help, the version, or a command line that is wrong. The parser never got to `--json` in the last
/// case, so it is looked for by hand.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            // The reader that closed the pipe has read enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                ExitCode::from(Exit::Failed as u8)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    let json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(name) = lab_command(std::env::args_os().skip(1))
    {
        let text = format!(
            "this build has no command `{name}`: it is compiled with the feature `lab` of \
             stillboot-cli, which the tool for devices is built without"
        );
        return ExitCode::from(Output::new(json, true).fail(&Failure::usage(text)));
    }
    if json {
        let text = error.render().to_string();
        let text = text.trim().trim_start_matches("error: ");
        return ExitCode::from(Output::new(true, true).fail(&Failure::usage(text)));
    }
    // The parser quotes arguments as they are.
    let is_plain =
        |arg: OsString| arg.to_str().is_some_and(|arg| arg == output::harmless(arg, false));
    if std::env::args_os().skip(1).all(is_plain) {
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        // Where standard error is closed nothing can be reported.
        let _ = writeln!(io::stderr(), "{}", output::harmless(text.trim_end(), true));
    }
    ExitCode::from(Exit::Usage as u8)
}
