//! Where bytes of the new bundle stand in the old one.

use super::DeltaError;

/// Matches are compared up to this length. Runs of zeros are often far longer, and comparing all of
/// one at each step of each search would take hours. A match that goes on is found to do so later.
const PROBE_LEN: usize = 1024;

/// The suffixes of the old bytes in order.
pub struct Suffixes<'a> {
    old: &'a [u8],
    order: Vec<i32>,
}

impl<'a> Suffixes<'a> {
    /// Sorts them: four bytes of memory for each byte of `old`.
    ///
    /// # Errors
    /// [`DeltaError::TooLong`] above 2 GiB.
    pub fn of(old: &'a [u8]) -> Result<Self, DeltaError> {
        if i32::try_from(old.len()).is_err() {
            return Err(DeltaError::TooLong(old.len() as u64));
        }
        let (_, order) = divsufsort::sort(old).into_parts();
        Ok(Self { old, order })
    }

    /// The old bytes.
    pub const fn old(&self) -> &'a [u8] {
        self.old
    }

    /// The place and length of the longest match with the start of `new`, at most [`PROBE_LEN`].
    pub fn longest(&self, new: &[u8]) -> (usize, usize) {
        let probe = &new[..new.len().min(PROBE_LEN)];
        let (mut low, mut high) = (0, self.order.len());
        // How much of `probe` the suffixes at both ends share with it: so do all between them.
        let (mut low_len, mut high_len) = (0, 0);
        let mut best = (0, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = self.order[middle] as usize;
            let suffix = &self.old[start..];
            let known = low_len.min(high_len).min(suffix.len());
            let len = known + common(&suffix[known..], &probe[known..]);
            if len > best.1 {
                best = (start, len);
            }
            if len == probe.len() {
                break;
            }
            if len < suffix.len() && suffix[len] > probe[len] {
                (high, high_len) = (middle, len);
            } else {
                (low, low_len) = (middle + 1, len);
            }
        }
        best
    }
}

/// How many bytes two slices have in common at their starts.
pub fn common(one: &[u8], other: &[u8]) -> usize {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let len = words.take_while(|(one, other)| one == other).count() * 8;
    let rest = one[len..].iter().zip(&other[len..]);
    len + rest.take_while(|(one, other)| one == other).count()
}
