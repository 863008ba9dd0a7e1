//! The pieces of a bundle from wherever is nearest: a slot, a patch, the bundle's file.

use std::path::Path;
use std::sync::Arc;

use stillboot::format::Digest;
use stillboot::verify::digest_of;
use stillboot_transport::decode::Decoder;
use stillboot_transport::frame::{Header, Part, Piece};

use crate::error::FetchError;
use crate::framed::PieceFile;
use crate::sha256::FastSha256;
use crate::slots::{INDEX_LEN_MAX, OldBundle, Slots};

/// Where pieces came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origins {
    /// Bytes of pieces that a slot held.
    pub near: u64,
    /// Bytes of pieces that a patch gave.
    pub patched: u64,
    /// Bytes of pieces from the bundle's file.
    pub full: u64,
    /// Bytes of pieces that a patch gave wrong, or that its old bytes did not give.
    pub rejected: u64,
    /// Bytes that came over a network.
    pub received: u64,
}

impl Origins {
    /// What was added since `before`.
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            near: self.near - before.near,
            patched: self.patched - before.patched,
            full: self.full - before.full,
            rejected: self.rejected - before.rejected,
            received: self.received - before.received,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self {
            near: self.near + other.near,
            patched: self.patched + other.patched,
            full: self.full + other.full,
            rejected: self.rejected + other.rejected,
            received: self.received + other.received,
        }
    }
}

/// The pieces of one bundle.
pub struct Assembly {
    bundle: PieceFile,
    patch: Option<PieceFile>,
    slots: Option<Arc<Slots>>,
    decoder: Decoder<OldBundle>,
    /// The index of a component, as it came.
    index: Option<(u8, Vec<u8>)>,
    origins: Origins,
    /// Bytes that came over a network for a patch that is not used any more.
    lost: u64,
    /// What was wrong with the patch, first.
    trouble: Option<FetchError>,
    /// It is asked which chunks the slot that is written has.
    is_asked: bool,
}

impl std::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly").field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

impl Assembly {
    /// A bundle from its file alone.
    #[must_use]
    pub fn new(bundle: PieceFile) -> Self {
        // A bundle may be a patch that holds everything.
        let digest = bundle.header().from;
        let nothing = Arc::new(Slots::new(Vec::new(), Default::default()));
        Self {
            bundle,
            patch: None,
            slots: None,
            decoder: Decoder::new(OldBundle::new(nothing, digest)),
            index: None,
            origins: Origins::default(),
            lost: 0,
            trouble: None,
            is_asked: false,
        }
    }

    /// The same with what the slots of this device hold.
    #[must_use]
    pub fn with_slots(mut self, slots: Arc<Slots>) -> Self {
        let from = self.patch.as_ref().unwrap_or(&self.bundle).header().from;
        self.decoder = Decoder::new(OldBundle::new(Arc::clone(&slots), from));
        self.slots = Some(slots);
        self
    }

    /// The same with a [spool](PieceFile::with_spool) for the bundle's file.
    #[must_use]
    pub fn with_spool(mut self, folder: &Path, name: &str) -> Self {
        self.bundle = self.bundle.with_spool(folder, name);
        self
    }

    /// The same with a patch to this very bundle.
    ///
    /// # Errors
    /// The digest of the bundle that the patch is for.
    pub fn with_patch(mut self, patch: PieceFile) -> Result<Self, Digest> {
        let its = patch.header();
        if !fits(its, self.bundle.header()) {
            return Err(its.digest);
        }
        if let Some(slots) = &self.slots {
            self.decoder = Decoder::new(OldBundle::new(Arc::clone(slots), its.from));
        }
        self.patch = Some(patch);
        Ok(self)
    }

    /// The parts of the bundle.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.bundle.header()
    }

    /// The same, to be [asked](stillboot::driver::Source::is_held) which chunks the slot that is
    /// written holds in their place.
    #[must_use]
    pub const fn with_statements(mut self) -> Self {
        self.is_asked = true;
        self
    }

    /// What the slots of this device hold, where it is asked for that.
    pub(crate) fn stated(&self) -> Option<&Arc<Slots>> {
        self.slots.as_ref().filter(|_| self.is_asked)
    }

    /// Where pieces came from until now.
    #[must_use]
    pub fn origins(&self) -> Origins {
        let patch = self.patch.as_ref().map_or(0, PieceFile::received);
        Origins { received: self.bundle.received() + patch + self.lost, ..self.origins }
    }

    /// The same to be read once more: what came until now does not count.
    #[must_use]
    pub fn read_again(mut self) -> Self {
        self.origins = Origins::default();
        self
    }

    /// What was wrong with the patch first, if something was. The bundle's file stood in for it.
    #[must_use]
    pub const fn trouble(&self) -> Option<&FetchError> {
        self.trouble.as_ref()
    }

    /// The same, when nothing more is read.
    #[must_use]
    pub fn into_trouble(self) -> Option<FetchError> {
        self.trouble
    }

    /// Fills `out`, which has the length of the piece. What comes from a slot or a patch is compared
    /// with the index first.
    ///
    /// # Errors
    /// [`FetchError`] of the bundle's file. No error elsewhere ends an installation.
    pub fn piece(&mut self, piece: &Piece, out: &mut [u8]) -> Result<(), FetchError> {
        let mut entry = None;
        if let Part::Chunk(number) = piece.part {
            entry = self.entry(number, piece);
            if self.near(entry.as_ref(), out) {
                self.origins.near += out.len() as u64;
                return Ok(());
            }
            if self.patched(entry.as_ref(), piece, out) {
                self.origins.patched += out.len() as u64;
                return Ok(());
            }
        }
        self.announce(piece);
        self.read_bundle(piece, entry.as_ref(), out)?;
        match self.bundle.is_difference(piece) {
            true => self.origins.patched += out.len() as u64,
            false => self.origins.full += out.len() as u64,
        }
        if let Part::Index(number) = piece.part {
            self.note_index(number, piece, out);
        }
        Ok(())
    }

    /// Reads a piece from the bundle's file. Where several servers have that, one that gives wrong
    /// bytes is passed over.
    fn read_bundle(
        &mut self,
        piece: &Piece,
        entry: Option<&Digest>,
        out: &mut [u8],
    ) -> Result<(), FetchError> {
        let mut result = self.bundle.read(piece, &mut self.decoder, out);
        for _ in 1..self.bundle.choices() {
            let is_wrong = match &result {
                Ok(()) => entry.is_some_and(|entry| digest_of::<FastSha256>(out) != *entry),
                Err(FetchError::Frames { .. }) => true,
                Err(_) => false,
            };
            if !is_wrong || !self.bundle.distrust(piece) {
                break;
            }
            result = self.bundle.read(piece, &mut self.decoder, out);
        }
        result
    }

    /// Takes the chunk from a slot, if one has it.
    fn near(&self, entry: Option<&Digest>, out: &mut [u8]) -> bool {
        let (Some(slots), Some(entry)) = (&self.slots, entry) else { return false };
        let places = slots.places(entry, out.len());
        // It may have been overwritten by now, or the stored index may be wrong.
        places.iter().any(|(device, at)| {
            slots.read(*device, *at, out).is_ok() && digest_of::<FastSha256>(out) == *entry
        })
    }

    /// Takes the chunk from the patch, if that has it.
    fn patched(&mut self, entry: Option<&Digest>, piece: &Piece, out: &mut [u8]) -> bool {
        let (Some(entry), Some(patch)) = (entry, &mut self.patch) else { return false };
        // What it starts from may be in the slot that is written: its frames would come in vain.
        let has_old = |slots: &Arc<Slots>| slots.has(&patch.header().from);
        if !patch.has(piece) || !self.slots.as_ref().is_some_and(has_old) {
            return false;
        }
        if patch.is_remote()
            && let Ok((start, end)) = patch.place(piece)
        {
            patch.expect(run_end(patch, piece, (start, end), |_| true));
        }
        let result = patch.read(piece, &mut self.decoder, out);
        let is_right = result.is_ok() && digest_of::<FastSha256>(out) == *entry;
        if !is_right {
            self.origins.rejected += out.len() as u64;
        }
        if let Err(error) = result {
            // A server that is gone would be waited for at every chunk.
            if matches!(error, FetchError::Http(_) | FetchError::Io { .. }) {
                self.lost += patch.received();
                self.patch = None;
            }
            self.trouble.get_or_insert(error);
        }
        is_right
    }

    /// Says how far the bundle's file will be read from `piece` on, so that one request serves the
    /// whole run of pieces which nothing nearer has.
    fn announce(&mut self, piece: &Piece) {
        if !self.bundle.is_remote() {
            return;
        }
        let Ok(place) = self.bundle.place(piece) else { return };
        let (patch, slots, index) = (&self.patch, &self.slots, &self.index);
        let end = run_end(&self.bundle, piece, place, |next| {
            let Part::Chunk(number) = next.part else { return true };
            let has_old = |patch: &&PieceFile| {
                slots.as_ref().is_some_and(|slots| slots.has(&patch.header().from))
            };
            if patch.as_ref().filter(has_old).is_some_and(|patch| patch.has(next)) {
                return false;
            }
            let entry = index.as_ref().filter(|(of, _)| *of == number);
            let entry = entry.and_then(|(_, bytes)| entry_at(bytes, self.bundle.header(), next));
            match (slots, entry) {
                (Some(slots), Some(entry)) => !slots.may_have(entry, &self.bundle.header().digest),
                _ => true,
            }
        });
        self.bundle.expect(end);
    }

    /// The entry of the index for a chunk, if the index is known.
    fn entry(&mut self, number: u8, piece: &Piece) -> Option<Digest> {
        if self.patch.is_none() && self.slots.is_none() {
            return None;
        }
        if self.index.as_ref().is_none_or(|(of, _)| *of != number) {
            self.index = Some((number, self.find_index(number)?));
        }
        let (_, bytes) = self.index.as_ref()?;
        entry_at(bytes, self.bundle.header(), piece).copied()
    }

    /// The index of a component that was not read: an installation that goes on has it in its slot.
    fn find_index(&mut self, number: u8) -> Option<Vec<u8>> {
        let header = *self.bundle.header();
        if let Some(slots) = &self.slots
            && let Some(index) = slots.index_of(&header.digest, number)
        {
            return Some(index.to_vec());
        }
        if self.index_len(number) > INDEX_LEN_MAX {
            return None;
        }
        let mut index = Vec::new();
        for piece in header.pieces().filter(|piece| piece.part == Part::Index(number)) {
            let mut bytes = vec![0; piece.len];
            self.bundle.read(&piece, &mut self.decoder, &mut bytes).ok()?;
            index.extend_from_slice(&bytes);
        }
        Some(index)
    }

    /// Length of the index of a component.
    fn index_len(&self, number: u8) -> u64 {
        let header = self.bundle.header();
        header.components()[usize::from(number)].div_ceil(header.chunk_size.into()) * 32
    }

    /// Keeps an index that passes.
    fn note_index(&mut self, number: u8, piece: &Piece, bytes: &[u8]) {
        if self.patch.is_none() && self.slots.is_none() {
            return;
        }
        let whole = self.index_len(number);
        if whole > INDEX_LEN_MAX {
            return;
        }
        if self.index.as_ref().is_none_or(|(of, _)| *of != number) {
            self.index = Some((number, vec![0; whole as usize]));
        }
        if let Some((_, index)) = &mut self.index
            && let Some(place) = index.get_mut(piece.start as usize..)
            && let Some(place) = place.get_mut(..bytes.len())
        {
            place.copy_from_slice(bytes);
        }
    }
}

/// Whether the pieces of the patch with the first header are those of the bundle with the second. A
/// bundle that got another signature since has the same manifest and other pieces.
#[must_use]
pub fn fits(patch: &Header, bundle: &Header) -> bool {
    patch.digest == bundle.digest
        && patch.head_len == bundle.head_len
        && patch.chunk_size == bundle.chunk_size
        && patch.components() == bundle.components()
}

/// The entry of a chunk in the index of its component.
fn entry_at<'a>(index: &'a [u8], header: &Header, piece: &Piece) -> Option<&'a Digest> {
    let number = piece.start / u64::from(header.chunk_size);
    index.as_chunks().0.get(usize::try_from(number).ok()?)
}

/// The place in `file` up to which pieces from `piece` on stand without a gap, and are `wanted`.
fn run_end(
    file: &PieceFile,
    piece: &Piece,
    (_, mut end): (u64, u64),
    wanted: impl Fn(&Piece) -> bool,
) -> u64 {
    // Looking further ahead would cost more than another request does.
    const LOOK_MAX: usize = 1024;
    let part = piece.part;
    let following = file.header().pieces_from(piece).skip(1);
    for next in following.take_while(|next| next.part == part).take(LOOK_MAX) {
        if !file.has(&next) || !wanted(&next) {
            break;
        }
        match file.place(&next) {
            Ok((_, to)) => end = to,
            Err(_) => break,
        }
    }
    end
}
