//! The statements that are given, and where they offer the bundle.

use std::path::{Path, PathBuf};

use stillboot::format::{Channel, Manifest, Statement, StatementKind};
use stillboot::verify::{SoftSha256, Verified, verify_statement};
use stillboot_release::keys::Roots;
use stillboot_release::statement;

use crate::failure::{Exit, Failure};
use crate::issue::Checked;
use crate::keyset::any_device;
use crate::{bounds, files, statements, time, view};

/// A statement of the right keys about the bundle, that has not expired.
pub struct Valid {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub statement: Verified<Statement>,
}

/// Reads statements; one that does not count is an error, because it was given to count.
pub fn read_statements(
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
                    "{} is about another bundle: expected digest {}, found {}",
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

/// Refuses what has expired.
pub fn fresh(not_after: u64, path: &Path) -> Result<(), Failure> {
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

/// Where the bundle is offered now, and to how many: by the promotion of the highest number, or else
/// by its manifest. Of two with the same number the stricter one, as devices have it.
pub fn offered(manifest: &Manifest, valid: &[Valid]) -> Result<(Channel, u8), Failure> {
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
