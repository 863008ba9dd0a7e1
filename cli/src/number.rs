//! The number of a new statement: of statements of the same kind and name the highest counts.

use std::io::Read as _;
use std::path::PathBuf;

use stillboot::format::statement::NUMBER_MAX;
use stillboot::format::{StatementKind, envelope};
use stillboot::verify::{SoftSha256, verify_statement};
use stillboot_linux::open;
use stillboot_release::keys::Roots;
use stillboot_release::statement;

use crate::failure::{Exit, Failure};
use crate::issue::{Checked, StateArgs};
use crate::keyset::any_device;
use crate::output::Output;
use crate::{statements, time};

/// The highest number of the sound statements of this kind and name about the bundle that lie beside
/// it or would be replaced, and the file that has it: devices may have seen it.
pub fn at_hand(
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
    // A file at --out that is not a statement is ignored.
    if let Ok(file) = open::file(&args.out) {
        let mut bytes = Vec::new();
        if file.take(envelope::LEN_MAX as u64 + 1).read_to_end(&mut bytes).is_ok() {
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
pub fn next(
    args: &StateArgs,
    before: u64,
    at_hand: Option<(u64, PathBuf)>,
    out: &Output,
) -> Result<u64, Failure> {
    let least = at_hand.as_ref().map_or(0, |(number, _)| *number).max(before);
    let is_last = before >= NUMBER_MAX || args.number.is_none() && least >= NUMBER_MAX;
    if is_last {
        return Err(Failure::new(
            Exit::Refused,
            "number",
            format_args!(
                "a statement before this one has the number {least}, and nothing may follow it: \
                 pack the release again with another sequence, and issue the statement for that \
                 bundle"
            ),
        ));
    }
    match (args.number, time::now()) {
        (Some(number), _) if number <= before => Err(Failure::usage(format_args!(
            "--number: expected more than {before}, which a statement before this one has, found \
             {number}: devices would keep using that one"
        ))),
        (Some(number), now) => {
            if let Some((other, path)) = at_hand.filter(|(other, _)| *other >= number) {
                out.warn(format_args!(
                    "{} has the number {other}, and this statement has {number}: a device that \
                     has seen both uses the higher one; --number {} or more replaces it",
                    path.display(),
                    other.saturating_add(1)
                ));
            }
            if now.is_some_and(|now| number > now) {
                out.warn(format_args!(
                    "number {number} is above the time in unix seconds: only a statement with a \
                     higher number, up to {NUMBER_MAX}, replaces this one; without --number it \
                     gets one where this file lies beside the bundle or is replaced"
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
