//! Issues statements: what `promote` and `statement` share. Nothing is stated about a bundle unless
//! every byte of it verifies.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stillboot::format::statement::NUMBER_MAX;
use stillboot::format::{
    Channel, Envelope, KeyRole, Keyset, Manifest, SlotKind, Statement, StatementKind,
};
use stillboot::verify::{SoftSha256, TrustError, Verified, verify_keyset, verify_statement};
use stillboot_release::keys::{KeyError, Roots, Signer};
use stillboot_release::statement::{self, Subject};

use crate::failure::{Exit, Failure};
use crate::keyset::any_device;
use crate::output::Output;
use crate::signers::{Named, SignerArgs, has_role};
use crate::source::Bundle;
use crate::{files, keyset, statements, time, verify, view};

/// The keys that sign a statement, and the file that it goes to.
#[derive(Args, Debug)]
pub struct StateArgs {
    /// The bundle that the statement is about
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The root keys of the product
    #[arg(long, value_name = "FILE")]
    pub roots: PathBuf,
    /// A secret key to sign with; several may be given
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    pub key: Vec<PathBuf>,
    #[command(flatten)]
    pub signers: SignerArgs,
    /// When the statement expires: a date, or a time with its zone; by default never
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub not_after: Option<u64>,
    /// The number of the statement. Of statements of one kind and name, devices use the one with
    /// the highest number. By default the time in unix seconds, or one more than the highest number
    /// of such statements that are given, that lie beside the bundle or that --out replaces. The
    /// highest possible number is refused: no statement could follow it
    #[arg(long, value_name = "N", value_parser = parse_number)]
    pub number: Option<u64>,
    /// The statement to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// The highest number that can be asked for: one more is left for what takes the statement back.
const ASKED_MAX: u64 = NUMBER_MAX - 1;

fn parse_number(text: &str) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=ASKED_MAX).contains(number));
    number.ok_or_else(|| {
        let why = match text.parse() {
            Ok(NUMBER_MAX) => ": no statement could follow this number",
            _ => "",
        };
        format!("expected a number from 1 to {ASKED_MAX}, found `{text}`{why}")
    })
}

/// A bundle, every byte of which was verified.
pub struct Checked {
    /// What it is.
    pub manifest: Verified<Manifest>,
    /// The keys that count for it.
    pub keyset: Keyset,
}

/// Verifies a bundle, every byte of it.
pub fn check(
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
    let mut bundle = Bundle::open(path, command, out)?;
    let manifest = verify::whole(&device, SlotKind::Update, &mut bundle, out)?;
    let head = bundle.watch().head();
    let (envelope, _) = Envelope::parse(head).map_err(TrustError::Keyset).map_err(refused)?;
    let keyset = verify_keyset::<SoftSha256>(&device, &envelope).map_err(refused)?;
    Ok(Checked { manifest, keyset })
}

/// What a statement says beside its kind.
pub fn subject(manifest: &Verified<Manifest>, channel: Channel, number: u64) -> Subject {
    Subject::new(*manifest.digest(), manifest.product, channel, number)
}

/// Signs and writes a statement, and gives the ids of the signers. `more` are files that it was
/// made from beside those of `args`.
pub fn issue(
    args: &StateArgs,
    roots: &Roots,
    checked: &Checked,
    statement: &Statement,
    more: &[&Path],
    out: &Output,
) -> Result<Vec<String>, Failure> {
    // All kinds that are issued here have a role.
    let role = statement.kind.role().unwrap_or(KeyRole::Channel);
    let signing = args.signers.signers(&args.key, "--key")?;
    for named in &signing {
        has_role(&checked.keyset, role, named)?;
    }
    let signers: Vec<&dyn Signer> = signing.iter().map(|named: &Named| &*named.signer).collect();
    let bytes = statement::sign(statement, &signers)?;
    let (envelope, _) = statement::parse(&bytes).map_err(KeyError::from)?;
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
pub fn tell(args: &StateArgs, statement: &Statement, signed_by: &[String], out: &Output) {
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
pub fn show(statement: &Statement) -> Value {
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
