//! `promote`: the statement that a bundle is offered one step closer to stable.
//!
//! A bundle that passed its tests is never packed again: a channel key states that the same digest
//! is now offered one step closer to `stable`, if the signers that the release policy names have
//! signed off.

mod gate;
mod given;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillboot::format::{Channel, Risk, StatementKind};
use stillboot::verify::Authority;
use stillboot_policy::channel;
use stillboot_release::keys::Roots;

use crate::failure::{Exit, Failure};
use crate::issue::{StateArgs, check, issue, show, subject, tell};
use crate::output::Output;
use crate::{number, view};
use gate::{check_gate, read_policy};
use given::{fresh, offered, read_statements};

/// Options of `promote`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot promote update.sbb --roots keys/roots.toml --policy release.toml \\\n    \
      --statement beta.sbs --statement tests.sbs --to latest/candidate --rollout 25 \\\n    \
      --key keys/channel-1.pem --out update.sbb.candidate.sbs\n\n\
    The way is edge, beta, candidate, stable, one step at a time, from where the bundle is offered\n\
    by its manifest and the channel statements given. The release policy names who must have signed\n\
    off for a step:\n  \
    [promote.candidate]\n  sign_offs = [\"tests\"]\n  \
    [promote.stable]\n  sign_offs = [\"tests\", \"certification\"]\n\n\
    Naming the channel again with another --rollout changes only that. A smaller one needs no\n\
    sign-offs: --rollout 0 stops the offer.")]
pub struct PromoteArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The channel that offers it from now on
    #[arg(long, value_name = "TRACK/RISK[/BRANCH]")]
    to: String,
    /// Percentage of devices that may take it
    #[arg(long, value_name = "PERCENT", default_value_t = 100,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    rollout: u8,
    /// The release policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// A statement about the bundle: a sign-off, or a promotion before this one; several may be given
    #[arg(long, value_name = "FILE")]
    statement: Vec<PathBuf>,
}

/// Makes a promotion.
pub fn promote(args: &PromoteArgs, out: &Output) -> Result<(), Failure> {
    let state = &args.state;
    let policy = read_policy(&args.policy)?;
    let to = channel::parse(&args.to)
        .map_err(|error| Failure::usage(format_args!("--to: `{}`: {error}", args.to)))?;
    let roots = Roots::read(&state.roots)?;
    let checked = check(&state.bundle, "promote", &roots, out)?;
    let manifest = &checked.manifest;
    if manifest.authority() == Authority::EdgeRelease {
        return Err(Failure::new(
            Exit::Refused,
            "edge-only",
            format_args!(
                "{} is signed by edge-release keys only, which count for risk edge alone: expected \
                 the signatures of release keys before it goes to {to}; `stillboot sign` adds them",
                state.bundle.display()
            ),
        ));
    }
    fresh(manifest.not_after, &state.bundle)?;
    let valid = read_statements(&args.statement, &roots, &checked)?;
    let (from, rollout) = offered(manifest, &valid)?;
    check_step(&from, rollout, &to, args.rollout)?;
    // Stopping or reducing an offer must not wait for sign-offs.
    let sign_offs = match to == from && args.rollout < rollout {
        true => Vec::new(),
        false => check_gate(&policy, &args.policy, to.risk, &valid)?,
    };

    let promotions = valid.iter().filter(|valid| valid.statement.kind == StatementKind::Channel);
    let before = promotions.map(|valid| valid.statement.number).max().unwrap_or(0);
    let at_hand = number::at_hand(state, StatementKind::Channel, "", &roots, &checked, out)?;
    let number = number::next(state, before, at_hand, out)?;
    let statement =
        subject(manifest, to.clone(), number).offered(args.rollout, state.not_after.unwrap_or(0));
    let given: Vec<_> = args.statement.iter().chain([&args.policy]).map(PathBuf::as_path).collect();
    let signed_by = issue(state, &roots, &checked, &statement, &given, out)?;
    out.line(format_args!("{}: from {from} to {to}", state.bundle.display()));
    for (name, path) in &sign_offs {
        out.line(format_args!("  signed off    {name}, by {}", path.display()));
    }
    tell(state, &statement, &signed_by, out);
    out.result(|| {
        let sign_offs: Vec<_> = sign_offs.iter().map(|(name, _)| name).collect();
        json!({
            "file": view::path(&state.out), "from": from.to_string(), "to": to.to_string(),
            "sign_offs": sign_offs, "statement": show(&statement),
        })
    });
    Ok(())
}

/// One step at a time, on the same track and branch.
fn check_step(from: &Channel, rollout: u8, to: &Channel, asked: u8) -> Result<(), Failure> {
    let refused = |what: String| Err(Failure::new(Exit::Refused, "step", what));
    if (&from.track, &from.branch) != (&to.track, &to.branch) {
        return refused(format!(
            "the bundle is offered on {from}: expected the same track and branch, found {to}; pack \
             it for another track"
        ));
    }
    let next = match from.risk {
        Risk::Edge => Some(Risk::Beta),
        Risk::Beta => Some(Risk::Candidate),
        Risk::Candidate => Some(Risk::Stable),
        Risk::Stable | Risk::Unknown(_) => None,
    };
    if to.risk == from.risk {
        if asked == rollout {
            return Err(Failure::new(
                Exit::Nothing,
                "already",
                format_args!("the bundle is offered on {from} to {rollout} % already"),
            ));
        }
        return Ok(());
    }
    if next == Some(to.risk) {
        return Ok(());
    }
    let due = next.map_or("nothing, for there is no step after stable".to_owned(), |risk| {
        format!("{risk}, the next step")
    });
    refused(format!(
        "the bundle is offered on {from}: expected {due}, found {}; give the promotions before this \
         one as --statement",
        to.risk
    ))
}
