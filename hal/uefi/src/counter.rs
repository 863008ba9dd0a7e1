//! A store of the floor that a counter of the TPM watches over: see
//! [`counted`](stillboot_boot_support::counted).

use alloc::vec::Vec;

use stillboot::driver::StoreError;
use stillboot::format::SlotKind;
use stillboot_boot_support::counted::{CountedStore, Counter, State};

use crate::tpm::tpm;
use crate::variables::CountedVariables;

/// The store of the floor with a counter of the TPM.
pub type Store = CountedStore<CountedVariables, NvCounter>;

/// A store.
#[must_use]
pub const fn store() -> Store {
    CountedStore::new(CountedVariables, NvCounter)
}

/// Keeps the system that is started from counting: a count could make a good store look old. A user
/// who has the owner rights of the TPM can still remove the counters, which has the effect of
/// clearing it.
pub fn lock() {
    for kind in [SlotKind::Update, SlotKind::Recovery] {
        // An index that is not there needs no lock.
        let _ = command(WRITE_LOCK, &[counter_of(kind), counter_of(kind)], true, &[]);
    }
}

/// A counter in the memory of the TPM, and beside it an index that exists once the counter's value
/// is stored. Counting needs no authorization; the counter is locked before a system starts.
#[derive(Clone, Copy, Debug)]
pub struct NvCounter;

/// "SB", in the range that owners give away.
const fn counter_of(kind: SlotKind) -> u32 {
    match kind {
        SlotKind::Update => 0x0153_4201,
        SlotKind::Recovery => 0x0153_4202,
    }
}

/// Where the counter is sealed.
const fn seal_of(kind: SlotKind) -> u32 {
    counter_of(kind) + 0x10
}

// Numbers of the TPM 2.0 library specification, part 2: commands (6.5.2), handles (7.4), attributes
// of an index (13.4), and the answer to a handle that is not there (6.6.3).
const DEFINE_SPACE: u32 = 0x12a;
const INCREMENT: u32 = 0x134;
const WRITE_LOCK: u32 = 0x138;
const READ: u32 = 0x14e;
const READ_PUBLIC: u32 = 0x169;
const OWNER: u32 = 0x4000_0001;
const PASSWORD: u32 = 0x4000_0009;
const SHA256: u16 = 0x000b;
/// Written and read with an authorization, which is empty; not locked out by wrong ones of others.
const COMMON: u32 = 1 << 2 | 1 << 18 | 1 << 25;
/// A counter, whose lock lasts until the next start of the machine.
const COUNTER: u32 = COMMON | 1 << 4 | 1 << 14;
/// It was counted at least once.
const WRITTEN: u32 = 1 << 29;
/// What the type of an index is.
const TYPE: u32 = 0xf0;
/// A value is out of range or not right for the context, of the first handle.
const NO_HANDLE: u32 = 0x18b;

/// Sends a command with these handles. With `is_authorized`, the first has an empty authorization.
/// Returns what follows the header, or the TPM's code.
fn command(
    code: u32,
    handles: &[u32],
    is_authorized: bool,
    parameters: &[u8],
) -> Result<Vec<u8>, Option<u32>> {
    let mut tcg = tpm().ok_or(None)?;
    let mut bytes = Vec::with_capacity(64 + parameters.len());
    bytes.extend(if is_authorized { 0x8002_u16 } else { 0x8001 }.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(code.to_be_bytes());
    for handle in handles {
        bytes.extend(handle.to_be_bytes());
    }
    if is_authorized {
        // The length of one session; its handle; no nonce, nothing to go on with, no secret.
        bytes.extend(9_u32.to_be_bytes());
        bytes.extend(PASSWORD.to_be_bytes());
        bytes.extend([0; 5]);
    }
    bytes.extend(parameters);
    let len = bytes.len() as u32;
    bytes[2..6].copy_from_slice(&len.to_be_bytes());
    let mut answer = [0; 256];
    tcg.submit_command(&bytes, &mut answer).map_err(|_| None)?;
    let number = |at: usize| answer.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let (len, said) = (number(2).ok_or(None)?, number(6).ok_or(None)?);
    if said != 0 {
        return Err(Some(said));
    }
    answer.get(10..len as usize).map(<[u8]>::to_vec).ok_or(None)
}

/// The attributes of an index, `None` if there is none.
fn attributes(index: u32) -> Result<Option<u32>, StoreError> {
    match command(READ_PUBLIC, &[index], false, &[]) {
        // Its length, the index, how it is named; then the attributes.
        Ok(answer) => match answer.get(8..12).and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => Ok(Some(u32::from_be_bytes(bytes))),
            None => Err(StoreError),
        },
        Err(Some(NO_HANDLE)) => Ok(None),
        Err(_) => Err(StoreError),
    }
}

fn define(index: u32, attributes: u32) -> Result<(), StoreError> {
    let mut parameters = Vec::with_capacity(18);
    // No authorization, and the public part with its length.
    parameters.extend([0, 0, 0, 14]);
    parameters.extend(index.to_be_bytes());
    parameters.extend(SHA256.to_be_bytes());
    parameters.extend(attributes.to_be_bytes());
    // No policy, eight bytes.
    parameters.extend([0, 0, 0, 8]);
    command(DEFINE_SPACE, &[OWNER], true, &parameters).map(|_| ()).map_err(|_| StoreError)
}

impl Counter for NvCounter {
    fn state(&mut self, kind: SlotKind) -> Result<State, StoreError> {
        let counter = counter_of(kind);
        let Some(found) = attributes(counter)? else { return Ok(State::Absent) };
        if found & TYPE != COUNTER & TYPE {
            return Err(StoreError);
        }
        if found & WRITTEN == 0 {
            // The power failed between its definition and its first count.
            self.increment(kind)?;
        }
        // Eight bytes from the first.
        let answer = command(READ, &[counter, counter], true, &[0, 8, 0, 0]);
        let answer = answer.map_err(|_| StoreError)?;
        // The length of what follows, and its own length.
        let count = answer.get(6..14).and_then(|bytes| bytes.try_into().ok());
        let count = count.map(u64::from_be_bytes).ok_or(StoreError)?;
        match attributes(seal_of(kind))? {
            Some(_) => Ok(State::Sealed(count)),
            None => Ok(State::Open(count)),
        }
    }

    fn define(&mut self, kind: SlotKind) -> Result<(), StoreError> {
        define(counter_of(kind), COUNTER)?;
        self.increment(kind)
    }

    fn seal(&mut self, kind: SlotKind) -> Result<(), StoreError> {
        define(seal_of(kind), COMMON)
    }

    fn increment(&mut self, kind: SlotKind) -> Result<(), StoreError> {
        let counter = counter_of(kind);
        command(INCREMENT, &[counter, counter], true, &[]).map(|_| ()).map_err(|_| StoreError)
    }
}
