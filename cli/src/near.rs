//! What need not be fetched: the slots of this device, and a patch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillboot::boot::Boot;
use stillboot::check;
use stillboot::format::{Digest, Fault, SlotState};
use stillboot::install::{InstallConfig, Running};
use stillboot_fetch::assembly::fits;
use stillboot_fetch::error::FetchError;
use stillboot_fetch::framed::PieceFile;
use stillboot_fetch::http::Options;
use stillboot_fetch::read_at::FileAt;
use stillboot_fetch::sha256::FastSha256;
use stillboot_fetch::slots::{Slots, Target};
use stillboot_linux::disk;
use stillboot_linux::{FileDevice, open};
use stillboot_transport::frame::Header;

use crate::failure::{Exit, Failure};
use crate::http::{self, HttpArgs, is_url};
use crate::output::Output;
use crate::{preview, record, view};

/// What the spools of the bundle and of a patch are called.
pub const BUNDLE_SPOOL: &str = "bundle";
/// See [`BUNDLE_SPOOL`].
pub const PATCH_SPOOL: &str = "patch";

/// How many digits of a digest stand in the name of a patch.
const NAME_DIGITS: usize = 16;

/// What the slots hold, and the digests of what patches may start from: that of the running slot
/// first.
pub struct Near {
    pub slots: Arc<Slots>,
    digests: Vec<Digest>,
    /// The installation asks for what its target holds, and does not look.
    pub is_asked: bool,
}

impl Near {
    /// Reads heads and stored indexes of all slots, before anything is written.
    pub fn of(
        config: &InstallConfig<'_>,
        devices: &mut [FileDevice],
        target: &Target,
    ) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for device in &*devices {
            let path = device.path();
            // A file of its own: it is read while the device is written, and has no lock.
            let (file, _) = open::disk(path, std::fs::OpenOptions::new().read(true))
                .map_err(|error| Failure::system("open", path, &error))?;
            files.push(file);
        }
        let layout = &config.layout;
        let mut slots = Slots::new(files, target.clone());
        // A slot that is being written has not what its index says.
        let record = record::read(layout, devices).ok();
        let mut digests = Vec::new();
        let mut buffer = vec![0; Boot::<FastSha256>::buffer_len_min(layout)];
        for at in layout.slots() {
            let lent = &mut disk::lent(devices);
            let head =
                check::slot_head::<FastSha256>(&config.device, layout, at.slot, lent, &mut buffer);
            // An empty slot, or one with something else, has nothing to give.
            let Ok(manifest) = head else { continue };
            let entry = record.as_ref().map(|read| read.record.body.slot(at.slot));
            let is_complete = entry.is_some_and(|entry| {
                entry.digest == *manifest.digest() && has_its_content(entry.state)
            });
            slots.add(layout, at.slot, &manifest, *manifest.digest(), is_complete);
            let runs = matches!(&config.running, Running::Proof(proof) if proof.slot == at.slot);
            digests.insert(if runs { 0 } else { digests.len() }, *manifest.digest());
        }
        Ok(Self { slots: Arc::new(slots), digests, is_asked: false })
    }

    /// The patch to the bundle `wanted` that is named, or the one that stands beside the bundle. What
    /// was kept of it is in `folder`.
    pub fn patch(
        &self,
        named: Option<&Path>,
        bundle: &Path,
        wanted: &Header,
        http: &HttpArgs,
        folder: Option<&Path>,
        out: &Output,
    ) -> Result<Option<PieceFile>, Failure> {
        let kept = folder.map(|folder| (folder, PATCH_SPOOL));
        if let Some(path) = named {
            let patch = open_patch(&[path.to_owned()], || http.options(), kept)?;
            return self.usable(patch, wanted, out);
        }
        // A slot in which the installation goes on names the new bundle itself.
        for digest in self.digests.iter().filter(|digest| **digest != wanted.digest) {
            let mirrors = http.mirror.iter().map(Path::new);
            let mut paths: Vec<_> = std::iter::once(bundle)
                .chain(mirrors)
                .filter_map(|at| beside(at, digest))
                .collect();
            if is_url(bundle).is_none() {
                paths.truncate(1);
            }
            let Some(first) = paths.first() else { continue };
            let name = http::shown(first);
            if is_url(first).is_none() && !first.exists() {
                continue;
            }
            // It is only a help that may be there.
            match open_patch(&paths, || Ok(http.options()?.with_attempts(1)), kept) {
                Ok(patch) if patch.from() != Some(*digest) => {
                    out.warn(format_args!(
                        "{name}: not used: it is not the patch that its name says"
                    ));
                }
                Ok(patch) if fits(patch.header(), wanted) => return Ok(Some(patch)),
                Ok(patch) if patch.header().digest == wanted.digest => out.warn(format_args!(
                    "{name}: not used: it was made for this bundle before that was signed once more"
                )),
                Ok(_) => out.warn(format_args!("{name}: not used: it leads to another bundle")),
                Err(failure) if is_url(first).is_none() => {
                    out.warn(format_args!("{name}: not used: {}", failure.message));
                }
                // Most servers have none.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// A patch that was named, if a slot has what it starts from.
    fn usable(
        &self,
        patch: PieceFile,
        wanted: &Header,
        out: &Output,
    ) -> Result<Option<PieceFile>, Failure> {
        let name = patch.name();
        let Some(from) = patch.from() else {
            return Err(Failure::new(
                Exit::Refused,
                "patch",
                format_args!(
                    "refused: {name} is not a patch: expected a file as `stillboot delta` writes it"
                ),
            ));
        };
        if patch.header().digest != wanted.digest {
            let (its, mine) = (view::hex(&patch.header().digest), view::hex(&wanted.digest));
            let text = format_args!(
                "refused: {name} is a patch to the bundle {its}: expected one to {mine}, the bundle \
                 that is installed"
            );
            return Err(Failure::new(Exit::Refused, "patch", text));
        }
        if !fits(patch.header(), wanted) {
            let text = format_args!(
                "refused: {name} was made for this bundle before that was signed once more: make it \
                 again with `stillboot delta`"
            );
            return Err(Failure::new(Exit::Refused, "patch", text));
        }
        if self.digests.contains(&from) {
            return Ok(Some(patch));
        }
        let found: Vec<String> = self.digests.iter().map(|digest| view::hex(digest)).collect();
        out.warn(format_args!(
            "{name}: not used: it starts from {}, and the slots hold {}",
            view::hex(&from),
            if found.is_empty() { "nothing".into() } else { found.join(", ") }
        ));
        Ok(None)
    }
}

/// Whether a slot in this state has what its index says, as far as the record knows.
const fn has_its_content(state: SlotState) -> bool {
    match state {
        SlotState::Empty | SlotState::Writing => false,
        SlotState::Bad { fault } => !matches!(fault, Fault::Corrupt | Fault::Unreadable),
        SlotState::Ready { .. } | SlotState::Trying { .. } | SlotState::Good => true,
    }
}

/// Opens the patch at the first of these places; URLs are those of one file.
fn open_patch(
    paths: &[PathBuf],
    options: impl FnOnce() -> Result<Options, Failure>,
    kept: Option<(&Path, &str)>,
) -> Result<PieceFile, Failure> {
    let Some(path) = paths.first() else { return Err(Failure::usage("expected a patch")) };
    let explain = |error| match error {
        FetchError::NotABundle { name, start } => Failure::new(
            Exit::Refused,
            "patch",
            format_args!(
                "refused: {name} is not a patch: expected a file as `stillboot delta` writes it, \
                 found {}",
                preview::kind_of(&start)
            ),
        ),
        error => error.into(),
    };
    if let Some(url) = is_url(path) {
        let urls = paths.iter().filter_map(|path| is_url(path));
        return http::pieces(http::remote(urls, &options()?)?, url, kept).map_err(explain);
    }
    let failed = |error| Failure::system("open", path, &error);
    let file = open::file(path).map_err(failed)?;
    let reader = FileAt::new(file, path.display().to_string());
    PieceFile::open(Box::new(reader)).map_err(explain)
}

/// The end of the name of the patch from the bundle with this digest.
pub fn name_end(from: &Digest) -> String {
    format!(".{}.sbd", &view::hex(from)[..NAME_DIGITS])
}

/// The name of the patch from the bundle with this digest, beside `bundle`:
/// `update.FROMDIGEST.sbd` beside `update.sbz` or `update.sbb`.
pub fn beside(bundle: &Path, from: &Digest) -> Option<PathBuf> {
    let text = bundle.to_str()?;
    // The query of a URL is not a part of the name.
    let plain = if is_url(bundle).is_some() { text.split(['?', '#']).next()? } else { text };
    let stem = [".sbz", ".sbb"].iter().find_map(|end| plain.strip_suffix(end)).unwrap_or(plain);
    Some(PathBuf::from(format!("{stem}{}", name_end(from))))
}
