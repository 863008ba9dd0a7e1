//! `statement`: that a bundle passed something, that it is approved; in files beside it.

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot::format::StatementKind;
use stillboot::format::manifest::is_label;
use stillboot_release::keys::Roots;

use crate::failure::Failure;
use crate::issue::{StateArgs, check, issue, show, subject, tell};
use crate::output::Output;
use crate::{number, verify, view};

/// Statements other than promotions.
#[derive(Subcommand, Debug)]
pub enum StatementCommand {
    /// States that a bundle passed something, such as its tests
    #[command(after_help = "Example:\n  \
        stillboot statement sign-off update.sbb --roots keys/roots.toml --name tests \\\n    \
          --key keys/sign-off-1.pem --out update.sbb.tests.sbs")]
    SignOff(SignOffArgs),
    /// States that the operator of the devices wants a bundle installed
    #[command(after_help = "Example:\n  \
        stillboot statement approve update.sbb --roots keys/roots.toml \\\n    \
          --key keys/approver-1.pem --out update.sbb.approval.sbs")]
    Approve(ApproveArgs),
}

/// Options of `statement sign-off`.
#[derive(Args, Debug)]
pub struct SignOffArgs {
    #[command(flatten)]
    state: StateArgs,
    /// What it passed, such as tests or certification
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// Options of `statement approve`.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    #[command(flatten)]
    state: StateArgs,
}

/// Makes a statement other than a promotion.
pub fn statement(command: &StatementCommand, out: &Output) -> Result<(), Failure> {
    let (args, name, command) = match command {
        StatementCommand::SignOff(args) => {
            (&args.state, Some(args.name.as_str()), "statement sign-off")
        }
        StatementCommand::Approve(args) => (&args.state, None, "statement approve"),
    };
    let roots = Roots::read(&args.roots)?;
    let checked = check(&args.bundle, command, &roots, out)?;
    verify::warn_expired(&checked.manifest, out);
    let kind = name.map_or(StatementKind::Approval, |_| StatementKind::SignOff);
    let at_hand = number::at_hand(args, kind, name.unwrap_or_default(), &roots, &checked, out)?;
    let number = number::next(args, 0, at_hand, out)?;
    let subject = subject(&checked.manifest, checked.manifest.channel.clone(), number);
    let not_after = args.not_after.unwrap_or(0);
    let statement = match name {
        None => subject.approved(not_after),
        Some(name) => subject
            .signed_off(name, not_after)
            .ok()
            .filter(|_| !name.is_empty() && is_label(name))
            .ok_or_else(|| {
                Failure::usage(format_args!(
                    "--name: expected 1 to 16 letters, digits and .-+_~, found {} characters, \
                     `{name}`",
                    name.chars().count()
                ))
            })?,
    };
    let signed_by = issue(args, &roots, &checked, &statement, &[], out)?;
    tell(args, &statement, &signed_by, out);
    out.result(|| json!({ "file": view::path(&args.out), "statement": show(&statement) }));
    Ok(())
}
