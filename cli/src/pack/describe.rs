//! What the manifest says, beside its components.

use stillboot::format::manifest::{self, CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, flags};
use stillboot::format::{Architecture, Channel, Epochs, Id, Manifest, Risk};
use stillboot_release::keys::{Roots, id_of};

use super::settings::{Settings, missing};
use crate::failure::Failure;
use crate::{args, size};

/// Longest version, in characters.
const VERSION_LEN_MAX: usize = 32;
/// Longest name in a channel, in characters.
const NAME_LEN_MAX: usize = 16;
/// The chunk size where none is asked for: resumes finely, and its index is small.
const CHUNK_SIZE: u64 = 256 << 10;

/// The manifest without its components.
pub fn manifest(settings: &Settings, roots: Option<&Roots>) -> Result<Manifest, Failure> {
    let product = product(settings, roots)?;
    let class = named(required(settings.class.as_deref(), "class")?, "class")?;
    let (revision_min, revision_max) = match settings.revision.as_deref() {
        Some(text) => range("revision", text)?,
        None => (0, u16::MAX),
    };
    // Not every version is a semantic one: updates are ordered by their sequence.
    let version = required(settings.version.as_deref(), "version")?;
    let min_from = settings.min_from.as_deref().unwrap_or_default();
    if !min_from.is_empty() {
        compared(min_from, version)?;
    }
    let (reads_min, reads_max) = match settings.reads_epochs.as_deref() {
        Some(text) => range("reads-epochs", text)?,
        None => (0, 0),
    };
    let chunk_size = settings.chunk_size.as_deref().map_or(Ok(CHUNK_SIZE), size::parse);
    let chunk_size = chunk_size.map_err(|error| Failure::usage(format!("chunk-size: {error}")))?;
    let allowed = u64::from(CHUNK_SIZE_MIN)..=u64::from(CHUNK_SIZE_MAX);
    if !chunk_size.is_power_of_two() || !allowed.contains(&chunk_size) {
        return Err(Failure::usage(format_args!(
            "chunk-size: expected a power of two from 4K to 1M, found {chunk_size} bytes"
        )));
    }
    let not_after = settings.not_after.as_deref().map_or(Ok(0), crate::time::parse);
    let rollout = settings.rollout.unwrap_or(100);
    if rollout > 100 {
        return Err(Failure::usage(format_args!("rollout: expected 0 to 100, found {rollout}")));
    }
    let mut bits = 0;
    if settings.security {
        bits |= flags::SECURITY;
    }
    if settings.dtb_required {
        bits |= flags::DTB_REQUIRED;
    }
    let Some(sequence) = settings.sequence else {
        return Err(missing("sequence"));
    };
    let level = settings.level.unwrap_or(0);
    below("sequence", sequence, u64::MAX)?;
    below("level", level.into(), u32::MAX.into())?;
    let writes = settings.writes_epoch.unwrap_or(reads_max);
    if !(reads_min..=reads_max).contains(&writes) {
        return Err(Failure::usage(format_args!(
            "writes-epoch: expected one of the epochs that it reads, {reads_min} to {reads_max}, \
             found {writes}: it could not read its own data"
        )));
    }
    Ok(Manifest {
        schema: manifest::SCHEMA,
        product,
        class: id_of(class),
        revision_min,
        revision_max,
        version: label(version, "version", VERSION_LEN_MAX)?,
        sequence,
        level,
        min_from: label(min_from, "min-from", VERSION_LEN_MAX)?,
        channel: channel(settings.channel.as_deref().unwrap_or("latest/stable"))?,
        architecture: settings
            .architecture
            .as_deref()
            .map_or(Ok(Architecture::Any), args::architecture)
            .map_err(|error| Failure::usage(format!("architecture: {error}")))?,
        not_after: not_after.map_err(|error| Failure::usage(format!("not-after: {error}")))?,
        epochs: Epochs { reads_min, reads_max, writes },
        rollout,
        flags: bits,
        chunk_size: chunk_size as u32,
        components: Default::default(),
    })
}

fn product(settings: &Settings, roots: Option<&Roots>) -> Result<Id, Failure> {
    match (settings.product.as_deref(), roots) {
        (Some(name), Some(roots)) if id_of(name) != roots.product_id() => {
            Err(Failure::usage(format_args!(
                "product `{name}` is not the one of the roots, `{}`: give one of the two",
                roots.product
            )))
        }
        (Some(name), _) => named(name, "product").map(id_of),
        (None, Some(roots)) => Ok(roots.product_id()),
        (None, None) => Err(Failure::usage(
            "the product is missing: expected --product NAME, or --roots FILE to take it from",
        )),
    }
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Failure> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

/// A name from the file of settings; on the command line it was looked at already.
fn named<'a>(value: &'a str, name: &str) -> Result<&'a str, Failure> {
    args::name(value).map_err(|error| Failure::usage(format_args!("{name}: {error}")))?;
    Ok(value)
}

/// Nothing could come after the highest number there is.
fn below(name: &str, found: u64, bound: u64) -> Result<(), Failure> {
    if found < bound {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{name}: expected 0 to {}, found {found}", bound - 1)))
}

/// Checks a least version: devices compare it with what runs, which only semantic versions allow.
fn compared(min_from: &str, version: &str) -> Result<(), Failure> {
    for (name, text) in [("min-from", min_from), ("version", version)] {
        semver::Version::parse(text).map_err(|error| {
            Failure::usage(format_args!(
                "{name}: with a least version both have to be semantic versions such as 1.2.3, which \
                 can be compared: found `{text}`: {error}"
            ))
        })?;
    }
    Ok(())
}

/// `MIN,MAX` or one number for both.
fn range(name: &str, text: &str) -> Result<(u16, u16), Failure> {
    let wrong = || {
        Failure::usage(format_args!(
            "{name}: expected MIN,MAX or one number, each 0 to 65535 and MIN not above MAX, found `{text}`"
        ))
    };
    let (min, max) = text.split_once(',').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (min, max) = (number(min)?, number(max)?);
    if min > max { Err(wrong()) } else { Ok((min, max)) }
}

/// Text that fits a manifest's field.
fn label<T: std::str::FromStr>(text: &str, name: &str, most: usize) -> Result<T, Failure> {
    if !manifest::is_label(text) {
        return Err(Failure::usage(format_args!(
            "{name}: expected letters, digits and .-+_~ only, found `{text}`"
        )));
    }
    text.parse().map_err(|_| {
        Failure::usage(format_args!(
            "{name}: expected up to {most} characters, found {} in `{text}`",
            text.len()
        ))
    })
}

/// `TRACK/RISK` or `TRACK/RISK/BRANCH`.
pub fn channel(text: &str) -> Result<Channel, Failure> {
    let mut parts = text.split('/');
    let (track, risk) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let branch = parts.next().unwrap_or_default();
    let risk = match Risk::from_name(risk) {
        Some(risk) if parts.next().is_none() && !track.is_empty() => risk,
        _ => {
            return Err(Failure::usage(format_args!(
                "channel: expected TRACK/RISK or TRACK/RISK/BRANCH with a risk of stable, \
                 candidate, beta or edge, found `{text}`"
            )));
        }
    };
    let name = |text| label(text, "channel", NAME_LEN_MAX);
    Ok(Channel { track: name(track)?, risk, branch: name(branch)? })
}
