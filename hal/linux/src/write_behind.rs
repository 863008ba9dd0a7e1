//! Writes behind the caller's back and reads ahead of it: a decorator of a [`BlockDevice`] with a
//! thread of its own.
//!
//! An installation hashes and writes in turn. With this decorator the device writes one piece
//! while the caller hashes the next one, and reads one piece while the caller hashes the one before.
//!
//! # What the caller sees
//! The [contract](stillboot::device#the-power-loss-contract), with errors that come late:
//!
//! - A write of [`BEHIND_LEN_MIN`] bytes or more returns when its bytes are in a buffer. Whether the
//!   device took them is known later. A shorter one waits for those before it and for the device:
//!   its error is not late, and does not stay. So a record goes to its next place when one place
//!   fails.
//! - The first late error stays: every later write, erase and flush fails with it, until the device
//!   is opened again. Changes that waited behind the one that failed are dropped. Reads go on.
//! - Writes that wait and follow each other reach the device as one request.
//! - A flush returns when everything before it is on the device and the device was flushed.
//! - A read waits for the changes of its range that have not reached the device, then reads the
//!   device. No read is served from a buffer that waits to be written.
//! - What was read ahead is dropped by a write of its range, by an erase where the medium needs one,
//!   and by a flush.
//! - An erase of a medium that needs none does nothing, also where the device is read-only.
//! - A drop waits until all is written. An error that comes then is lost, because no call asks for
//!   it: only a flush says that bytes are stored.
//!
//! # Memory
//! [`MEMORY_BYTES`] for each device, and a few hundred bytes.
// Why: docs/DESIGN.md#why-late-errors-stay

mod aligned;
mod state;

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use stillboot::device::{BlockDevice, DeviceError, Geometry};

use aligned::{ALIGNMENT, Aligned};
use state::{Content, Job, State};

/// The length of a buffer: long enough that the time of a request does not count, and as long as the
/// largest chunk.
const BUFFER_LEN: usize = 1 << 20;
/// One buffer is written while the caller fills another; the rest levels out a device that is
/// sometimes slow.
const BUFFERS: usize = 4;
/// Pieces that are read ahead. With the last buffer a write goes on at once.
const AHEAD_PIECES: usize = BUFFERS - 1;
/// Changes that wait. Erases take no buffer, and are bounded by this.
const JOBS_MAX: usize = 2 * BUFFERS;

/// Writes and reads of this length belong to a component. Shorter ones are of a record, a mark or
/// an index: their errors must be known at once, and nothing like them follows.
pub const BEHIND_LEN_MIN: usize = 64 << 10;

/// What a device that is written behind takes in memory.
pub const MEMORY_BYTES: usize = BUFFERS * (BUFFER_LEN + ALIGNMENT);

/// A device that is written behind and read ahead; see the [module](self).
#[derive(Debug)]
pub struct WriteBehind<'scope, D> {
    shared: Arc<Shared<D>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
    geometry: Geometry,
}

#[derive(Debug)]
struct Shared<D> {
    /// One request at a time, as the trait demands. Never taken while `state` is held.
    device: Mutex<D>,
    state: Mutex<State>,
    /// There is something for the thread to do.
    work: Condvar,
    /// The thread did something.
    done: Condvar,
}

impl<'scope, D: BlockDevice + Send + 'scope> WriteBehind<'scope, D> {
    /// Starts the thread of `device`. The scope lets it borrow the device, which its owner has back
    /// afterwards, with its last error.
    pub fn new<'env>(scope: &'scope Scope<'scope, 'env>, device: D) -> Self {
        let geometry = device.geometry();
        let free = (0..BUFFERS).map(|_| Aligned::new(BUFFER_LEN)).collect();
        let shared = Arc::new(Shared {
            device: Mutex::new(device),
            state: Mutex::new(State::new(free)),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let thread = scope.spawn({
            let shared = Arc::clone(&shared);
            move || serve(&shared)
        });
        Self { shared, thread: Some(thread), geometry }
    }
}

impl<D> Shared<D> {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the state was held left it whole: no function of it panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self) -> MutexGuard<'_, D> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.done.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread does next.
enum Turn {
    Change(Job),
    Read(Range<u64>, Aligned),
}

/// The thread: changes first, in order, then what is read ahead.
fn serve<D: BlockDevice>(shared: &Shared<D>) {
    let _guard = Guard(shared);
    loop {
        let mut state = shared.state();
        let turn = loop {
            // A lock is not fair: the caller would wait for all jobs, where it waits for one.
            if state.is_caller_reading {
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if let Some(job) = state.jobs.pop_front() {
                state.busy = Some(job.range());
                break Turn::Change(job);
            }
            if state.is_ended {
                return;
            }
            if let Some((range, buffer)) = state.take_wanted() {
                break Turn::Read(range, buffer);
            }
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        match turn {
            Turn::Change(job) => change(shared, job),
            Turn::Read(range, mut buffer) => {
                let len = (range.end - range.start) as usize;
                let is_read = shared.device().read(range.start, &mut buffer[..len]).is_ok();
                shared.state().put_read(&range, buffer, is_read);
            }
        }
        shared.done.notify_all();
    }
}

fn change<D: BlockDevice>(shared: &Shared<D>, job: Job) {
    let result = match &job {
        Job::Write { offset, len, buffer } => shared.device().write(*offset, &buffer[..*len]),
        Job::Erase { offset, len } => shared.device().erase(*offset, *len),
    };
    let mut state = shared.state();
    state.busy = None;
    if let Job::Write { buffer, .. } = job {
        state.free.push(buffer);
    }
    if let Err(error) = result {
        state.fail(error);
    }
}

impl State {
    /// Notes a late error. What waits behind it would build on bytes that are not there.
    fn fail(&mut self, error: DeviceError) {
        self.failed.get_or_insert(error);
        while let Some(job) = self.jobs.pop_front() {
            if let Job::Write { buffer, .. } = job {
                self.free.push(buffer);
            }
        }
    }
}

/// A thread that panics must not leave its caller waiting for it.
struct Guard<'a, D>(&'a Shared<D>);

impl<D> Drop for Guard<'_, D> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.state();
            state.busy = None;
            state.fail(DeviceError::Io);
            // The reader is gone.
            state.pieces.clear();
            state.is_ended = true;
            self.0.done.notify_all();
        }
    }
}

impl<D: BlockDevice> WriteBehind<'_, D> {
    /// Hands a change to the thread, when there is room for it.
    fn push(&self, mut state: MutexGuard<'_, State>, job: Job) -> Result<(), DeviceError> {
        while state.jobs.len() >= JOBS_MAX && state.failed.is_none() {
            state = self.shared.wait(state);
        }
        if let Some(error) = state.failed {
            if let Job::Write { buffer, .. } = job {
                state.free.push(buffer);
            }
            return Err(error);
        }
        // Before the job is seen: a piece read now may be read before the change or after it.
        state.forget(&job.range());
        state.jobs.push_back(job);
        self.shared.work.notify_one();
        Ok(())
    }

    /// The state, once every change has reached the device or failed.
    fn drained(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        while !state.is_drained() {
            state = self.shared.wait(state);
        }
        state
    }

    /// Writes behind everything that waits, and returns what the device says of it.
    fn write_through(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut state = self.drained();
        if let Some(error) = state.failed {
            return Err(error);
        }
        // The thread has no change, and what it reads of these bytes from now on is dropped.
        state.forget(&(offset..offset + bytes.len() as u64));
        drop(state);
        self.shared.device().write(offset, bytes)
    }

    fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut state = self.shared.state();
        let mut buffer = loop {
            if let Some(error) = state.failed {
                return Err(error);
            }
            if state.join(offset, bytes) {
                return Ok(());
            }
            match state.buffer() {
                Some(buffer) => break buffer,
                None => state = self.shared.wait(state),
            }
        };
        drop(state);
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.push(self.shared.state(), Job::Write { offset, len: bytes.len(), buffer })
    }

    fn read_device(&self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        /// Lets the thread go on, also when the device panics: it would wait for ever, and the drop
        /// for it.
        struct Reading<'a, D>(&'a Shared<D>);
        impl<D> Drop for Reading<'_, D> {
            fn drop(&mut self) {
                self.0.state().is_caller_reading = false;
                self.0.work.notify_one();
            }
        }
        self.shared.state().is_caller_reading = true;
        let _reading = Reading(&*self.shared);
        self.shared.device().read(offset, into)
    }

    /// Copies what was read ahead of `at`. Returns how many bytes that were, and how many the caller
    /// has to read itself behind them.
    fn serve_ahead(&self, at: u64, into: &mut [u8]) -> (usize, usize) {
        let mut state = self.shared.state();
        loop {
            let Some(number) = state.piece_at(at) else {
                let next = state.next_piece(at).map_or(usize::MAX, |next| (next - at) as usize);
                return (0, next.min(into.len()));
            };
            let piece = &state.pieces[number];
            let len = into.len().min((piece.range.end - at) as usize);
            match &piece.content {
                Content::Ready(buffer) => {
                    let from = (at - piece.range.start) as usize;
                    into[..len].copy_from_slice(&buffer[from..][..len]);
                    return (len, 0);
                }
                // The thread reads it next: there is a buffer for each piece.
                Content::Wanted if state.is_drained() && !state.is_ended => {
                    state = self.shared.wait(state);
                }
                // The thread has other work, and the caller is here.
                Content::Wanted | Content::Failed => {
                    let range = piece.range.clone();
                    state.forget(&range);
                    return (0, len);
                }
                Content::Reading => state = self.shared.wait(state),
            }
        }
    }
}

impl<D: BlockDevice> BlockDevice for WriteBehind<'_, D> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        let range = offset..offset + into.len() as u64;
        let mut state = self.shared.state();
        while state.is_pending(&range) {
            state = self.shared.wait(state);
        }
        drop(state);
        let mut at = 0;
        while at < into.len() {
            let (copied, own) = self.serve_ahead(offset + at as u64, &mut into[at..]);
            if own > 0 {
                self.read_device(offset + at as u64, &mut into[at..at + own])?;
            }
            at += copied + own;
        }
        if into.len() >= BEHIND_LEN_MIN {
            self.shared.state().note_read(&range, self.geometry.capacity_bytes);
            self.shared.work.notify_one();
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        if bytes.len() < BEHIND_LEN_MIN {
            return self.write_through(offset, bytes);
        }
        let pieces = (offset..).step_by(BUFFER_LEN).zip(bytes.chunks(BUFFER_LEN));
        for (at, piece) in pieces {
            self.write_piece(at, piece)?;
        }
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        if self.geometry.erased.is_some() {
            return self.push(self.shared.state(), Job::Erase { offset, len });
        }
        // Nothing to do, so no request that would stand between two writes.
        self.shared.state().failed.map_or(Ok(()), Err)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        let mut state = self.drained();
        // What comes from the device before the flush may come from its cache.
        state.forget(&(0..u64::MAX));
        if let Some(error) = state.failed {
            return Err(error);
        }
        drop(state);
        let result = self.shared.device().flush();
        if let Err(error) = result {
            self.shared.state().fail(error);
        }
        result
    }
}

impl<D> Drop for WriteBehind<'_, D> {
    fn drop(&mut self) {
        self.shared.state().is_ended = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It did not panic, or the panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
