//! Reads a bundle ahead in a thread of its own, so that the network, the decoder and the machine
//! work at the same time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use stillboot::driver::{Source, SourceError, read_more};
use stillboot_transport::frame::{Part, Piece, Pieces};

use crate::assembly::{Assembly, Origins};
use crate::error::FetchError;
use crate::slots::{INDEX_LEN_MAX, Slots};
use crate::stream::Stream;

/// Bytes that are read ahead.
const AHEAD_LEN: usize = 4 << 20;
/// Most pieces that are read ahead.
const AHEAD_MAX: usize = 16;

/// What the thread is asked for.
struct Order {
    piece: Piece,
    buffer: Vec<u8>,
}

/// What the thread gives back.
struct Delivery {
    result: Result<(), FetchError>,
    buffer: Vec<u8>,
    /// Of this piece.
    origins: Origins,
}

/// A bundle as a [`Source`] that reads ahead.
///
/// It reads ahead only where it was read: an installation that skips what is there already does not
/// fetch it. The farther it is read without a gap, the more is read ahead.
pub struct Ahead {
    pieces: Pieces,
    ordered: VecDeque<Piece>,
    orders: Option<SyncSender<Order>>,
    deliveries: Receiver<Delivery>,
    thread: Option<JoinHandle<Assembly>>,
    /// Buffers that are free.
    spare: Vec<Vec<u8>>,
    /// The piece that is being read, its bytes, and how many were read.
    open: Option<(Piece, Vec<u8>, usize)>,
    /// How many pieces were read in a row.
    row: usize,
    most: usize,
    error: Option<FetchError>,
    /// It failed, and what comes next is not where it seems to be.
    has_failed: bool,
    origins: Origins,
    held: Option<Held>,
}

/// Tells which chunks need not be read: those that the slot which is written has in their place.
struct Held {
    slots: Arc<Slots>,
    chunk_size: u32,
    /// The index that was read last, and of which component it is.
    index: (u8, Vec<u8>),
}

impl Held {
    /// Keeps `bytes` of an index, which start at `at` of it.
    fn note(&mut self, number: u8, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        // Of a longer one it is not known.
        if end > INDEX_LEN_MAX {
            self.index.1.clear();
            return;
        }
        if at == 0 {
            self.index = (number, Vec::new());
        }
        // A gap is no index.
        if self.index.0 == number && self.index.1.len() as u64 == at {
            self.index.1.extend_from_slice(bytes);
        }
    }

    fn has(&self, piece: &Piece) -> bool {
        let Part::Chunk(number) = piece.part else { return false };
        let (of, index) = &self.index;
        let at = usize::try_from(piece.start / u64::from(self.chunk_size));
        let entry = at.ok().and_then(|at| index.as_chunks().0.get(at));
        let holds = |entry| self.slots.holds(number, piece.start, entry, piece.len);
        *of == number && entry.is_some_and(holds)
    }
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

impl Ahead {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says if there is no further thread.
    pub fn new(mut assembly: Assembly) -> std::io::Result<Self> {
        let pieces = assembly.header().pieces();
        let size = assembly.header().chunk_size as usize;
        let origins = Origins { received: assembly.origins().received, ..Origins::default() };
        let held = assembly.stated().map(Arc::clone).map(|slots| Held {
            slots,
            chunk_size: assembly.header().chunk_size,
            index: (0, Vec::new()),
        });
        let most = (AHEAD_LEN / size).clamp(2, AHEAD_MAX);
        let (orders, ordered) = mpsc::sync_channel::<Order>(most + 1);
        let (deliver, deliveries) = mpsc::sync_channel(most + 1);
        let thread = thread::Builder::new().name("fetch".into()).spawn(move || {
            for Order { piece, mut buffer } in ordered {
                buffer.resize(piece.len, 0);
                let before = assembly.origins();
                let result = assembly.piece(&piece, &mut buffer);
                let origins = assembly.origins().since(&before);
                let delivery = Delivery { result, buffer, origins };
                if deliver.send(delivery).is_err() {
                    break;
                }
            }
            assembly
        })?;
        Ok(Self {
            pieces,
            ordered: VecDeque::new(),
            orders: Some(orders),
            deliveries,
            thread: Some(thread),
            spare: Vec::new(),
            open: None,
            row: 0,
            most,
            error: None,
            has_failed: false,
            origins,
            held,
        })
    }

    /// Where the pieces came from that were read until now, and all that came over a network.
    #[must_use]
    pub const fn origins(&self) -> Origins {
        self.origins
    }

    /// Ends the thread; gives back what it read from.
    pub fn finish(mut self) -> Option<Assembly> {
        self.orders = None;
        // The thread may wait for room for a delivery.
        while self.deliveries.recv().is_ok() {}
        self.thread.take().and_then(|thread| thread.join().ok())
    }

    fn order(&mut self, piece: Piece) -> Result<(), SourceError> {
        let buffer = self.spare.pop().unwrap_or_default();
        let orders = self.orders.as_ref().ok_or(SourceError)?;
        orders.send(Order { piece, buffer }).map_err(|_| SourceError)
    }

    /// Orders pieces up to the number that the row allows: at least one, within one component.
    fn order_ahead(&mut self, is_read_now: bool) -> Result<(), SourceError> {
        let most = self.most.min(1 << self.row.min(AHEAD_MAX));
        while self.ordered.len() < most {
            let Some(next) = self.pieces.clone().next() else { break };
            let part = self.ordered.front().map_or(next.part, |first| first.part);
            // What follows a component may be for another slot and not be read at all.
            if component(part) != component(next.part) {
                break;
            }
            // It will be skipped. The first piece is read in any case where it is read now.
            let is_first = is_read_now && self.ordered.is_empty();
            if !is_first && self.held.as_ref().is_some_and(|held| held.has(&next)) {
                break;
            }
            self.pieces.next();
            self.order(next)?;
            self.ordered.push_back(next);
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, SourceError> {
        let Delivery { result, buffer, origins } =
            self.deliveries.recv().map_err(|_| SourceError)?;
        self.origins = self.origins.and(&origins);
        match result {
            Ok(()) => Ok(buffer),
            Err(error) => {
                self.spare.push(buffer);
                self.error = Some(error);
                self.has_failed = true;
                Err(SourceError)
            }
        }
    }

    /// The next piece, which is read from its start.
    fn next_piece(&mut self) -> Result<Option<(Piece, Vec<u8>)>, SourceError> {
        self.order_ahead(true)?;
        let Some(piece) = self.ordered.pop_front() else { return Ok(None) };
        self.row += 1;
        let bytes = self.receive()?;
        // The next ones are read while this one is used.
        self.order_ahead(false)?;
        Ok(Some((piece, bytes)))
    }

    /// Skips a whole piece of at most `len` bytes; returns its length, or 0 if the next one is
    /// longer.
    fn skip_piece(&mut self, len: u64) -> Result<u64, SourceError> {
        let ordered = self.ordered.front().copied();
        let Some(piece) = ordered.or_else(|| self.pieces.clone().next()) else {
            return Err(SourceError);
        };
        if piece.len as u64 > len {
            return Ok(0);
        }
        self.row = 0;
        match self.ordered.pop_front() {
            // It comes nevertheless. That it could not be had does not matter.
            Some(_) => {
                let delivery = self.deliveries.recv().map_err(|_| SourceError)?;
                self.spare.push(delivery.buffer);
                self.origins.received += delivery.origins.received;
            }
            None => {
                self.pieces.next();
            }
        }
        Ok(piece.len as u64)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.orders = None;
        // It reads nothing, so it ends at once, and lets go of files and locks. Otherwise the network
        // may keep it.
        if self.ordered.is_empty()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// The component that a part belongs to; `None` for the head.
const fn component(part: Part) -> Option<u8> {
    match part {
        Part::Head => None,
        Part::Index(number) | Part::Chunk(number) => Some(number),
    }
}

impl Stream for Ahead {
    fn take_error(&mut self) -> Option<FetchError> {
        self.error.take()
    }
}

impl Source for Ahead {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.has_failed {
            return Err(SourceError);
        }
        let (piece, bytes, at) = match self.open.take() {
            Some(open) => open,
            None => match self.next_piece()? {
                Some((piece, bytes)) => (piece, bytes, 0),
                None => return Ok(0),
            },
        };
        let len = into.len().min(piece.len - at);
        into[..len].copy_from_slice(&bytes[at..at + len]);
        if let (Some(held), Part::Index(number)) = (&mut self.held, piece.part) {
            held.note(number, piece.start + at as u64, &into[..len]);
        }
        if at + len < piece.len {
            self.open = Some((piece, bytes, at + len));
        } else {
            self.spare.push(bytes);
        }
        Ok(len)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        if self.has_failed {
            return Err(SourceError);
        }
        if let Some((piece, bytes, at)) = self.open.take() {
            let step = len.min((piece.len - at) as u64);
            len -= step;
            let at = at + step as usize;
            if at < piece.len {
                self.open = Some((piece, bytes, at));
            } else {
                self.spare.push(bytes);
            }
        }
        while len > 0 {
            match self.skip_piece(len)? {
                // Only a part of the next piece is skipped.
                0 => {
                    let Some((piece, bytes)) = self.next_piece()? else {
                        return Err(SourceError);
                    };
                    self.open = Some((piece, bytes, len as usize));
                    return Ok(());
                }
                step => len -= step,
            }
        }
        Ok(())
    }
    fn is_held(&mut self, len: u64) -> bool {
        let Some(held) = self.held.as_ref().filter(|_| self.open.is_none()) else { return false };
        let mut left = len;
        let next = self.ordered.iter().copied().chain(self.pieces);
        for piece in next.take_while(|piece| held.has(piece)) {
            match left.checked_sub(piece.len as u64) {
                Some(0) => return true,
                Some(rest) => left = rest,
                None => break,
            }
        }
        false
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}
