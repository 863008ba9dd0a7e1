//! `promote` and `statement`: statements about a bundle after it was packed, in files beside it.
//!
//! A bundle that passed its tests is never packed again: a channel key states that the same digest
//! is now offered one step closer to `stable`, if the signers that the release policy names have
//! signed off. Nothing is stated about a bundle unless every byte of it verifies.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use stillboot::format::{
    self, Channel, Envelope, KeyRole, Keyset, Manifest, Risk, SlotKind, Statement, StatementKind,
};
use stillboot::verify::{
    Authority, SoftSha256, TrustError, Verified, verify_keyset, verify_statement,
};
use stillboot_linux::open;
use stillboot_policy::channel;
use stillboot_release::keys::{Roots, Signer};
use stillboot_release::settings;
use stillboot_release::statement::{self, Subject};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::keyset::any_device;
use crate::output::Output;
use crate::sign::{Named, SignerArgs, has_role};
use crate::source::Bundle;
use crate::{files, keyset, statements, time, verify, view};

/// Who makes a statement, and where it goes.
#[derive(Args, Debug)]
struct StateArgs {
    /// The bundle that it speaks of
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The root keys of the product
    #[arg(long, value_name = "FILE")]
    roots: PathBuf,
    /// A secret key to sign with; several may be given
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    signers: SignerArgs,
    /// When the statement counts no more: a date, or a time with its zone; by default never
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    not_after: Option<u64>,
    /// The number of the statement, above those of its kind before it: the highest counts. By
    /// default the time in unix seconds, and at least one more than the statements of its kind and
    /// name that are given, lie beside the bundle or stand in --out. Nothing could follow the
    /// highest number of all, so it is not taken
    #[arg(long, value_name = "N", value_parser = parse_number)]
    number: Option<u64>,
    /// The statement to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The highest number that can be asked for: one more is left for what takes the statement back.
const ASKED_MAX: u64 = format::statement::NUMBER_MAX - 1;

fn parse_number(text: &str) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=ASKED_MAX).contains(number));
    number.ok_or_else(|| {
        let why = match text.parse() {
            Ok(format::statement::NUMBER_MAX) => ": no statement could follow this number",
            _ => "",
        };
        format!("expected a number from 1 to {ASKED_MAX}, found `{text}`{why}")
    })
}

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
    /// Where it is offered from now on
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

/// The release policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    promote: Gates,
}

/// A gate before each risk that one can be promoted to. Without one for beta, no sign-off is needed
/// for it; those for candidate and stable must be there, if only to say so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gates {
    beta: Option<Gate>,
    candidate: Option<Gate>,
    stable: Option<Gate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    #[serde(alias = "sign-offs")]
    sign_offs: Vec<String>,
}

/// A bundle, every byte of which was verified.
struct Checked {
    manifest: Verified<Manifest>,
    keyset: Keyset,
}

/// A statement of the right keys about the bundle, that has not expired.
struct Valid {
    path: PathBuf,
    statement: Verified<Statement>,
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
    let at_hand = at_hand(args, kind, name.unwrap_or_default(), &roots, &checked, out)?;
    let number = number(args, 0, at_hand, out)?;
    let subject = subject(&checked.manifest, checked.manifest.channel.clone(), number);
    let not_after = args.not_after.unwrap_or(0);
    let statement = match name {
        None => subject.approved(not_after),
        Some(name) => subject
            .signed_off(name, not_after)
            .ok()
            .filter(|_| !name.is_empty() && stillboot::format::manifest::is_label(name))
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
    // To stop an offer, or to make it smaller, must not wait for a signature.
    let sign_offs = match to == from && args.rollout < rollout {
        true => Vec::new(),
        false => check_gate(&policy, &args.policy, to.risk, &valid)?,
    };

    let promotions = valid.iter().filter(|valid| valid.statement.kind == StatementKind::Channel);
    let before = promotions.map(|valid| valid.statement.number).max().unwrap_or(0);
    let at_hand = at_hand(state, StatementKind::Channel, "", &roots, &checked, out)?;
    let number = number(state, before, at_hand, out)?;
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

fn subject(manifest: &Verified<Manifest>, channel: Channel, number: u64) -> Subject {
    Subject { digest: *manifest.digest(), product: manifest.product, channel, number }
}

/// The highest number of the sound statements of this kind and name about the bundle that lie beside
/// it or would be replaced, and the file that has it: devices may have seen it.
fn at_hand(
    args: &StateArgs,
    kind: StatementKind,
    name: &str,
    roots: &Roots,
    checked: &Checked,
    out: &Output,
) -> Result<Option<(u64, PathBuf)>, Failure> {
    let mut files: Vec<_> = statements::find(&[], &args.bundle, out)?
        .into_iter()
        .map(|given| (given.path, given.bytes))
        .collect();
    // A file that stands there and is no statement does not matter here.
    if let Ok(file) = open::file(&args.out) {
        let mut bytes = Vec::new();
        if file.take(format::envelope::LEN_MAX as u64 + 1).read_to_end(&mut bytes).is_ok() {
            files.push((args.out.clone(), bytes));
        }
    }
    let device = any_device(roots);
    let numbers = files.into_iter().filter_map(|(path, bytes)| {
        let (envelope, _) = statement::parse(&bytes).ok()?;
        let found = verify_statement::<SoftSha256>(&device, &checked.keyset, &envelope).ok()?;
        let is_alike = (found.digest, found.kind, found.name.as_str())
            == (*checked.manifest.digest(), kind, name);
        is_alike.then_some((found.number, path))
    });
    Ok(numbers.max())
}

/// The number of a statement, when the highest of those before it that were given is `before`.
fn number(
    args: &StateArgs,
    before: u64,
    at_hand: Option<(u64, PathBuf)>,
    out: &Output,
) -> Result<u64, Failure> {
    let least = at_hand.as_ref().map_or(0, |(number, _)| *number).max(before);
    let is_last = before >= format::statement::NUMBER_MAX
        || args.number.is_none() && least >= format::statement::NUMBER_MAX;
    if is_last {
        return Err(Failure::new(
            Exit::Refused,
            "number",
            format_args!(
                "a statement before this one has the number {least}, and nothing may follow it: \
                 pack the release again with another sequence, and state it of that bundle"
            ),
        ));
    }
    match (args.number, time::now()) {
        (Some(number), _) if number <= before => Err(Failure::usage(format_args!(
            "--number: expected more than {before}, which a statement before this one has, found \
             {number}: devices would go on with that one"
        ))),
        (Some(number), now) => {
            if let Some((other, path)) = at_hand.filter(|(other, _)| *other >= number) {
                out.warn(format_args!(
                    "{} has the number {other}, and this statement has {number}: a device that has \
                     seen both goes on with the higher one; --number {} or more takes its place",
                    path.display(),
                    other.saturating_add(1)
                ));
            }
            if now.is_some_and(|now| number > now) {
                out.warn(format_args!(
                    "number {number} is above the time in unix seconds: only a statement with a \
                     higher number, up to {}, takes this one back; without --number it gets one \
                     where this file lies beside the bundle or is replaced",
                    format::statement::NUMBER_MAX
                ));
            }
            Ok(number)
        }
        (None, Some(now)) => Ok(now.max(least + 1)),
        (None, None) if least > 0 => Ok(least + 1),
        (None, None) => Err(Failure::usage(
            "the clock of this machine was never set: set it, or give --number, above that of any \
             statement before this one",
        )),
    }
}

/// Verifies a bundle, every byte of it.
fn check(
    path: &Path,
    command: &'static str,
    roots: &Roots,
    out: &Output,
) -> Result<Checked, Failure> {
    let refused = |error: TrustError| {
        let advice = statements::advice(&error);
        let text = format_args!("{} is refused: {error}{advice}", path.display());
        Failure::new(Exit::Refused, "trust", text)
    };
    let device = any_device(roots);
    let mut bundle = Bundle::open(path, command)?;
    let manifest = verify::whole(&device, SlotKind::Update, &mut bundle, out)?;
    let head = bundle.watch().head();
    let (envelope, _) = Envelope::parse(head).map_err(TrustError::Keyset).map_err(refused)?;
    let keyset = verify_keyset::<SoftSha256>(&device, &envelope).map_err(refused)?;
    Ok(Checked { manifest, keyset })
}

/// Refuses what has expired.
fn fresh(not_after: u64, path: &Path) -> Result<(), Failure> {
    match (not_after, time::now()) {
        (0, _) => Ok(()),
        (until, Some(now)) if now <= until => Ok(()),
        (until, Some(_)) => Err(Failure::new(
            Exit::Refused,
            "expired",
            format_args!("{} has expired: not after {}", path.display(), time::show(until)),
        )),
        (until, None) => Err(Failure::new(
            Exit::Deferred,
            "clock",
            format_args!(
                "{} counts until {}, and the clock of this machine was never set: set it first",
                path.display(),
                time::show(until)
            ),
        )),
    }
}

/// Reads statements; one that does not count is an error, because it was given to count.
fn read_statements(
    paths: &[PathBuf],
    roots: &Roots,
    checked: &Checked,
) -> Result<Vec<Valid>, Failure> {
    let device = any_device(roots);
    let mut valid = Vec::new();
    for path in paths {
        let bytes = files::read(path)?;
        let (envelope, _) = statement::parse(&bytes).map_err(|error| {
            Failure::new(
                Exit::Refused,
                "statement",
                format_args!(
                    "{} is not a statement: expected one as `stillboot statement` writes it; {}",
                    path.display(),
                    bounds::statement_error(error, &bytes)
                ),
            )
        })?;
        let statement = verify_statement::<SoftSha256>(&device, &checked.keyset, &envelope)
            .map_err(|error| {
                Failure::new(
                    Exit::Refused,
                    "statement",
                    format_args!(
                        "{} is refused: {error}{}",
                        path.display(),
                        statements::advice(&error)
                    ),
                )
            })?;
        if statement.digest != *checked.manifest.digest() {
            return Err(Failure::new(
                Exit::Refused,
                "other-bundle",
                format_args!(
                    "{} speaks of another bundle: expected digest {}, found {}",
                    path.display(),
                    view::hex(checked.manifest.digest()),
                    view::hex(&statement.digest)
                ),
            ));
        }
        fresh(statement.not_after, path)?;
        valid.push(Valid { path: path.clone(), statement });
    }
    Ok(valid)
}

/// Where the bundle is offered now, and to how many: by the promotion of the highest number, or else
/// by its manifest. Of two with the same number the stricter one, as devices have it.
fn offered(manifest: &Manifest, valid: &[Valid]) -> Result<(Channel, u8), Failure> {
    let mut now = (manifest.channel.clone(), manifest.rollout);
    let mut last = 0;
    for Valid { path, statement } in valid {
        if statement.kind != StatementKind::Channel {
            continue;
        }
        if (&statement.channel.track, &statement.channel.branch) != (&now.0.track, &now.0.branch) {
            return Err(Failure::new(
                Exit::Refused,
                "other-channel",
                format_args!(
                    "{} offers the bundle on {}: expected track and branch of {}",
                    path.display(),
                    statement.channel,
                    now.0
                ),
            ));
        }
        // Risks are numbered from the safest.
        let strict = |channel: &Channel, rollout: u8| (channel.risk.code(), 100 - rollout);
        let is_stricter =
            strict(&statement.channel, statement.rollout) > strict(&now.0, now.1.min(100));
        if statement.number > last || statement.number == last && is_stricter {
            now = (statement.channel.clone(), statement.rollout);
            last = statement.number;
        }
    }
    Ok(now)
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

/// The sign-offs that the policy wants before `risk`, each with the file that has it.
fn check_gate<'a>(
    policy: &'a Policy,
    path: &Path,
    risk: Risk,
    valid: &'a [Valid],
) -> Result<Vec<(&'a str, &'a Path)>, Failure> {
    let gates = &policy.promote;
    let gate = match risk {
        Risk::Stable => &gates.stable,
        Risk::Candidate => &gates.candidate,
        Risk::Beta => &gates.beta,
        // There is no promotion to edge.
        Risk::Edge | Risk::Unknown(_) => &None,
    };
    let wanted = match (gate, risk) {
        (Some(gate), _) => &gate.sign_offs[..],
        (None, Risk::Stable | Risk::Candidate) => {
            return Err(Failure::usage(format_args!(
                "{} says nothing of {risk}: expected [promote.{risk}] with sign_offs = [...], if \
                 only an empty list",
                path.display()
            )));
        }
        (None, _) => &[],
    };
    let holder = |name: &&String| {
        valid.iter().find(|valid| {
            valid.statement.kind == StatementKind::SignOff
                && valid.statement.name.as_str() == name.as_str()
        })
    };
    let missing: Vec<_> =
        wanted.iter().filter(|name| holder(name).is_none()).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            "sign-off",
            format_args!(
                "{} wants sign-offs for {risk}: expected {}, found none for {}; `stillboot \
                 statement sign-off` makes them, --statement gives them",
                path.display(),
                wanted.join(", "),
                missing.join(", ")
            ),
        ));
    }
    Ok(wanted
        .iter()
        .filter_map(|name| holder(&name).map(|valid| (name.as_str(), valid.path.as_path())))
        .collect())
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let text = files::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        let trouble = settings::trouble(&text, &error);
        Failure::usage(format_args!("{}: expected a release policy: {trouble}", path.display()))
    })
}

/// Signs and writes a statement, and gives the ids of the signers. `more` are files that it was
/// made from beside those of `args`.
fn issue(
    args: &StateArgs,
    roots: &Roots,
    checked: &Checked,
    statement: &Statement,
    more: &[&Path],
    out: &Output,
) -> Result<Vec<String>, Failure> {
    // The kinds that are made here all have one.
    let role = statement.kind.role().unwrap_or(KeyRole::Channel);
    let signing = args.signers.signers(&args.key, "--key")?;
    for named in &signing {
        has_role(&checked.keyset, role, named)?;
    }
    let signers: Vec<&dyn Signer> = signing.iter().map(|named: &Named| &*named.signer).collect();
    let bytes = stillboot_release::statement::sign(statement, &signers)?;
    let (envelope, _) =
        statement::parse(&bytes).map_err(stillboot_release::keys::KeyError::from)?;
    let rule = checked.keyset.rule(role);
    let needed = usize::from(keyset::needed(rule));
    if let Some(kind) = keyset::unsupported(rule) {
        out.warn(format_args!(
            "{role} keys must sign with {rule}: this build can neither sign nor check with {kind} \
             (kind {}), and devices of this version refuse the statement",
            kind.code()
        ));
    } else if signing.len() < needed {
        out.warn(format_args!(
            "devices want {needed} signatures by {role} keys, this statement carries {}: add more \
             with `stillboot sign`",
            signing.len()
        ));
    } else {
        verify_statement::<SoftSha256>(&any_device(roots), &checked.keyset, &envelope).map_err(
            |error| {
                Failure::new(
                    Exit::Failed,
                    "trust",
                    format_args!("no device with these roots would take this statement: {error}"),
                )
            },
        )?;
    }
    if let (until @ 1.., Some(now)) = (statement.not_after, time::now())
        && now > until
    {
        out.warn(format_args!("the statement has expired already: {}", time::show(until)));
    }
    let named = args.key.iter().map(PathBuf::as_path).chain(args.signers.inputs());
    let named = named.chain([args.bundle.as_path(), &args.roots]);
    let inputs: Vec<_> = named.chain(more.iter().copied()).collect();
    files::replace(&args.out, &inputs, |file| {
        file.write_all(&bytes).map_err(|error| Failure::system("write", &args.out, &error))
    })?;
    Ok(view::signers(&envelope))
}

/// Says what was stated, once it is.
fn tell(args: &StateArgs, statement: &Statement, signed_by: &[String], out: &Output) {
    out.line(format_args!("{}: {}", args.out.display(), statement.kind));
    out.line(format_args!("  digest        {}", view::hex(&statement.digest)));
    out.line(format_args!("  number        {}", statement.number));
    match statement.kind {
        StatementKind::Channel => {
            out.line(format_args!("  channel       {}", statement.channel));
            out.line(format_args!("  rollout       {} %", statement.rollout));
        }
        _ if !statement.name.is_empty() => {
            out.line(format_args!("  name          {}", statement.name));
        }
        _ => {}
    }
    match statement.not_after {
        0 => out.line("  not after     never expires"),
        until => out.line(format_args!("  not after     {}", time::show(until))),
    }
    out.line(format_args!("  signed by     {}", signed_by.join(", ")));
}

/// A statement for scripts.
fn show(statement: &Statement) -> Value {
    json!({
        "kind": statement.kind.name(),
        "digest": view::hex(&statement.digest),
        "number": statement.number,
        "product": view::id(&statement.product),
        "channel": statement.channel.to_string(),
        "rollout": statement.rollout,
        "not_after": Some(statement.not_after).filter(|time| *time != 0),
        "not_after_time": time::rfc3339(statement.not_after),
        "name": Some(statement.name.as_str()).filter(|name| !name.is_empty()),
    })
}
