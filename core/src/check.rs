//! Checks of a whole bundle and of a whole slot, for tools, menus, and loaders that hold a bundle in
//! their own image. They write nothing.
//!
//! # Example
//!
//! ```
//! use stillboot::check;
//! use stillboot::driver::Stream;
//! use stillboot::format::{Rule, SlotKind};
//! use stillboot::install::{InstallError, Refusal};
//! use stillboot::verify::{Device, HEAD_LEN_MAX, RootKey, SoftSha256, Trust};
//!
//! let roots = [RootKey::ed25519([0x42; 32])];
//! let trust = Trust::Roots { keys: &roots, rule: Rule::ed25519(1) };
//! let device = Device::new(trust, *b"example gateway\0", *b"gateway model 1\0");
//! let mut bundle = Stream(&b"no bundle"[..]);
//! let mut buffer = vec![0; HEAD_LEN_MAX];
//! let ignore = &mut |_| {};
//! let result = check::bundle::<SoftSha256>(
//!     &device, SlotKind::Update, &mut bundle, true, ignore, &mut buffer,
//! );
//! assert_eq!(result.unwrap_err(), InstallError::Refused(Refusal::Ended));
//! ```

// Why: docs/DESIGN.md#why-check-is-beside-driver
use crate::area::{Area, Outcome};
use crate::boot::{Boot, Reason};
use crate::device::BlockDevice;
use crate::driver::{Source, SourceError, carry_out, fill};
use crate::format::{Envelope, FormatError, Manifest, Record, Slot, SlotKind, envelope};
use crate::install::{InstallError, Refusal};
use crate::io::{Io, Step};
use crate::layout::{Layout, LayoutError, Region};
use crate::units::round_down;
use crate::verify::{
    Device, HeadReader, IndexFold, Progress as HeadProgress, Sha256, TrustError, Verified,
    check_class, verify_head,
};

/// Compares the bytes behind the head of a bundle with its manifest, in pieces of any size: the
/// index of each component, then its bytes.
// Why: docs/DESIGN.md#why-plain-sha256
#[derive(Debug)]
pub struct Content<'a, H> {
    manifest: &'a Manifest,
    /// The component's number in the manifest.
    number: usize,
    is_index: bool,
    /// Bytes of the part at hand that are still to come.
    left: u64,
    fold: IndexFold<H>,
}

impl<'a, H: Sha256> Content<'a, H> {
    /// Starts at the first byte behind the head.
    #[must_use]
    #[inline(never)]
    pub fn new(manifest: &'a Manifest) -> Self {
        let fold = IndexFold::new(0, 1);
        let mut content = Self { manifest, number: 0, is_index: true, left: 0, fold };
        content.begin();
        content
    }

    /// Bytes that [`take`](Self::take) takes at most: the rest of the index or of the component at
    /// hand. 0 at the end of the bundle.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The component at hand, and whether its index comes. Its number is past the last at the end.
    #[must_use]
    pub const fn at(&self) -> (usize, bool) {
        (self.number, self.is_index)
    }

    /// Takes the next bytes, those past [`left`](Self::left) excepted.
    ///
    /// # Errors
    /// The number of the component whose index or bytes are not the signed ones.
    #[inline(never)]
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let number = self.number;
        let Some(component) = self.manifest.components.get(number) else { return Ok(()) };
        // At most the length of `bytes`, so the cast keeps it.
        let bytes = &bytes[..self.left.min(bytes.len() as u64) as usize];
        self.left -= bytes.len() as u64;
        if self.is_index {
            self.fold.entries(bytes);
        } else {
            self.fold.bytes(bytes);
        }
        if self.left > 0 {
            return Ok(());
        }
        let is_signed = self.fold.root() == component.index_root;
        self.is_index = !self.is_index;
        self.number += usize::from(self.is_index);
        self.begin();
        if is_signed { Ok(()) } else { Err(number) }
    }

    /// Begins with the index or the bytes of the component at hand.
    fn begin(&mut self) {
        if let Some(component) = self.manifest.components.get(self.number) {
            let index_len = component.index_len(self.manifest.chunk_size);
            self.left = if self.is_index { index_len } else { component.length };
            self.fold.restart(component.length, self.manifest.chunk_size);
        }
    }
}

/// Checks a whole bundle without a device: signatures, every index, every chunk, exact length. With
/// `plain`, each component's plain SHA-256 too.
///
/// `buffer` holds the head of the bundle, at most [`HEAD_LEN_MAX`](crate::verify::HEAD_LEN_MAX)
/// bytes. A longer buffer makes this faster.
///
/// # Errors
/// [`InstallError::Refused`] or [`InstallError::Source`].
// Why: docs/DESIGN.md#why-verify-files-whole
pub fn bundle<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    source: &mut dyn Source,
    plain: bool,
    progress: &mut dyn FnMut(u64),
    buffer: &mut [u8],
) -> Result<Verified<Manifest>, InstallError> {
    let head_len = receive_head(device, source, buffer)?;
    let (manifest, _) =
        verify_head::<H>(device, kind, &buffer[..head_len]).map_err(Refusal::Trust)?;
    content::<H>(&manifest, source, plain, progress, buffer)?;
    Ok(manifest)
}

/// Checks the bytes behind the head of a bundle to their end: every index, every chunk, exact
/// length. With `plain`, each component's plain SHA-256 too. Devices never use that digest, and
/// everything is hashed twice then. `progress` gets the bytes of components that were checked.
///
/// # Errors
/// [`Refusal::Content`], [`Refusal::Ended`], [`Refusal::Trailing`] or [`InstallError::Source`];
/// [`LayoutError::Buffer`] if `buffer` is empty. A longer buffer makes this faster.
pub fn content<H: Sha256>(
    manifest: &Manifest,
    source: &mut dyn Source,
    plain: bool,
    progress: &mut dyn FnMut(u64),
    buffer: &mut [u8],
) -> Result<(), InstallError> {
    if buffer.is_empty() {
        return Err(LayoutError::Buffer { needed: 1, available: 0 }.into());
    }
    let mut content = Content::<H>::new(manifest);
    let (mut done, mut digest) = (0, H::new());
    while content.left() > 0 {
        let len = content.left().min(buffer.len() as u64) as usize;
        let piece = &mut buffer[..len];
        let (component, is_index) = content.at();
        receive(source, piece)?;
        content.take(piece).map_err(|component| Refusal::Content { component })?;
        if is_index {
            continue;
        }
        done += len as u64;
        progress(done);
        if plain {
            digest.update(piece);
            let is_last = content.at().0 != component;
            if is_last
                && core::mem::replace(&mut digest, H::new()).finish()
                    != manifest.components[component].sha256
            {
                return Err(Refusal::Content { component }.into());
            }
        }
    }
    match source.has_more() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Refusal::Trailing.into()),
        Err(SourceError) => Err(InstallError::Source),
    }
}

/// Receives the envelopes of a head to the start of `buffer`. Returns its length.
fn receive_head(
    device: &Device<'_>,
    source: &mut dyn Source,
    buffer: &mut [u8],
) -> Result<usize, InstallError> {
    let available = buffer.len();
    let check_room = |needed: usize| {
        if needed <= available { Ok(()) } else { Err(LayoutError::Buffer { needed, available }) }
    };
    let envelopes = device.trust.envelopes();
    let mut end = 0;
    for number in 1..=envelopes {
        let (from, body) = (end, end + envelope::HEADER_LEN);
        check_room(body)?;
        receive(source, &mut buffer[from..body])?;
        let mut header = [0; envelope::HEADER_LEN];
        header.copy_from_slice(&buffer[from..body]);
        let wrap = if number < envelopes { TrustError::Keyset } else { TrustError::Manifest };
        let len =
            Envelope::len_from_header(&header).map_err(|error| Refusal::Trust(wrap(error)))?;
        end = from + len;
        check_room(end)?;
        receive(source, &mut buffer[body..end])?;
    }
    Ok(end)
}

fn receive(source: &mut dyn Source, into: &mut [u8]) -> Result<(), InstallError> {
    match fill(source, into) {
        Ok(len) if len == into.len() => Ok(()),
        Ok(_) => Err(Refusal::Ended.into()),
        Err(SourceError) => Err(InstallError::Source),
    }
}

/// Reads the head of a slot and verifies it, and that it is for this device and fits the layout;
/// writes nothing. `buffer` holds at least [`Boot::buffer_len_min`] bytes.
///
/// # Errors
/// The [`Reason`] for which a boot would skip the slot.
pub fn slot_head<H: Sha256>(
    device: &Device<'_>,
    layout: &Layout<'_>,
    slot: Slot,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Result<Verified<Manifest>, Reason> {
    let (needed, available) = (Boot::<H>::buffer_len_min(layout), buffer.len());
    if available < needed {
        return Err(Reason::Layout(LayoutError::Buffer { needed, available }));
    }
    if !layout.has(slot) {
        return Err(Reason::Layout(LayoutError::NoSuchSlot(slot)));
    }
    let short = Reason::Trust(TrustError::Manifest(FormatError::Short));
    let region = head_region(layout, slot, devices, buffer)?.ok_or(short)?;
    let block = layout.geometry(region.device).logical_block_bytes;
    let mut reader = HeadReader::new();
    reader.restart(device);
    let (mut from, mut len) = (0, 1);
    loop {
        let start = round_down(from as u64, block);
        let there = (region.len - start.min(region.len)).min(round_down(available as u64, block));
        let window = 0..there as usize;
        if window.end < from - start as usize + len {
            return Err(short);
        }
        let offset = region.offset + start;
        let io = Io::Read { device: region.device, offset, range: window.clone() };
        carry_out(&io, devices, buffer).map_err(Reason::Device)?;
        let window = &buffer[window];
        let progress = reader.take::<H>(device, slot.kind(), window, start as usize);
        match progress.map_err(Reason::Trust)? {
            HeadProgress::More { from: next, len: needed } => (from, len) = (next, needed),
            HeadProgress::Done { payload, .. } => {
                let mut manifest = None;
                reader.manifest(device, window, payload, &mut manifest).map_err(Reason::Trust)?;
                let manifest = manifest.ok_or(short)?;
                check_class(device, &manifest).map_err(Reason::Class)?;
                layout.check_fit(slot, &manifest).map_err(Reason::Layout)?;
                return Ok(manifest);
            }
        }
    }
}

/// Where the head of `slot` stands. In a log, only the log says so.
fn head_region(
    layout: &Layout<'_>,
    slot: Slot,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Result<Option<Region>, Reason> {
    let mut area = Area::new(0);
    if layout.is_log() {
        let mut record = Record::default();
        let mut io = area.begin_read(layout);
        loop {
            let result = carry_out(&io, devices, buffer);
            match area.step_record(layout, result, buffer, &mut record) {
                Step::Io(next) => io = next,
                Step::Done(Outcome::WriteFailed(error)) => return Err(Reason::Device(error)),
                Step::Done(Outcome::Read(_) | Outcome::Written) => break,
            }
        }
    }
    Ok(area.head(layout, slot))
}

/// Reads a slot in full and checks it against its manifest; writes nothing. `late` components are
/// checked too.
///
/// # Errors
/// The [`Reason`] for which a boot would skip the slot.
pub fn slot<H: Sha256>(
    device: &Device<'_>,
    layout: &Layout<'_>,
    slot: Slot,
    devices: &mut [&mut dyn BlockDevice],
    progress: &mut dyn FnMut(u64),
    buffer: &mut [u8],
) -> Result<Verified<Manifest>, Reason> {
    let manifest = slot_head::<H>(device, layout, slot, devices, buffer)?;
    let most = (buffer.len() / layout.unit() * layout.unit()) as u64;
    let mut done = 0;
    for (number, component) in manifest.components_of(slot) {
        let data = layout.component(slot, &manifest, number).map_err(Reason::Layout)?;
        let unit = u64::from(layout.geometry(data.device).logical_block_bytes);
        let mut fold = IndexFold::<H>::new(component.length, manifest.chunk_size);
        let (mut at, end) = (0, component.length.next_multiple_of(unit));
        while at < end {
            let len = (end - at).min(most) as usize;
            let io = Io::Read { device: data.device, offset: data.offset + at, range: 0..len };
            carry_out(&io, devices, buffer).map_err(Reason::Device)?;
            fold.bytes(&buffer[..len]);
            at += len as u64;
            progress(done + at);
        }
        done += end;
        if fold.finish() != component.index_root {
            return Err(Reason::Corrupt { role: component.role });
        }
    }
    Ok(manifest)
}
