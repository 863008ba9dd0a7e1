//! Numbers modulo p = 2^255 - 19.

use core::array;

/// A number in eight words, the lowest first. All 256 bits are used: 2^256 is 38 modulo p, and only
/// [`reduced`](Self::reduced) has one form for each number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field(pub(crate) [u32; 8]);

pub(crate) const ZERO: Field = Field([0; 8]);
pub(crate) const ONE: Field = Field([1, 0, 0, 0, 0, 0, 0, 0]);

impl Field {
    /// `self + factor * other`; the factor is below 2^30 in size.
    #[inline(never)]
    pub(crate) fn plus(&self, factor: i32, other: &Self) -> Self {
        let mut carry = 0;
        let mut sum = Self(array::from_fn(|at| {
            carry += i64::from(self.0[at]) + i64::from(factor) * i64::from(other.0[at]);
            let word = carry as u32;
            carry >>= 32;
            word
        }));
        // What is above 2^256, or was borrowed from there. The first round leaves a carry of one at
        // most in size, and the second one none.
        while carry != 0 {
            carry *= 38;
            for word in &mut sum.0 {
                carry += i64::from(*word);
                *word = carry as u32;
                carry >>= 32;
            }
        }
        sum
    }

    #[inline(never)]
    pub(crate) fn times(&self, other: &Self) -> Self {
        // The lower words, then the upper ones.
        let mut product = [[0_u32; 8]; 2];
        let words = product.as_flattened_mut();
        for (row, one) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (word, other) in words[row..row + 8].iter_mut().zip(&other.0) {
                // At most (2^32 - 1)^2 + 2 (2^32 - 1), which is 2^64 - 1.
                carry += u64::from(*one) * u64::from(*other) + u64::from(*word);
                *word = carry as u32;
                carry >>= 32;
            }
            words[row + 8] = carry as u32;
        }
        let [low, high] = product;
        Self(low).plus(38, &Self(high))
    }

    pub(crate) fn squared(&self) -> Self {
        self.times(self)
    }

    pub(crate) fn negated(&self) -> Self {
        ZERO.plus(-1, self)
    }

    /// `self` to the power (p - 5) / 8, which is 2^252 - 3.
    pub(crate) fn power(&self) -> Self {
        // In binary: 250 times 1, then 01.
        let mut power = *self;
        for at in (0..251).rev() {
            power = power.squared();
            if at != 1 {
                power = power.times(self);
            }
        }
        power
    }

    /// The one form below p.
    #[inline(never)]
    pub(crate) fn reduced(&self) -> Self {
        let mut number = *self;
        // First below 2^255 + 19, then below 2^255.
        for _ in 0..2 {
            let above = number.take_top();
            number = number.plus(19 * above as i32, &ONE);
        }
        let mut less = number.plus(19, &ONE);
        if less.take_top() == 1 { less } else { number }
    }

    /// Clears the highest bit, and says what it was.
    fn take_top(&mut self) -> u32 {
        let top = self.0[7] >> 31;
        self.0[7] &= u32::MAX >> 1;
        top
    }

    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        self.plus(-1, other).reduced().0 == ZERO.0
    }

    /// Whether the form below p is odd.
    pub(crate) fn is_odd(&self) -> bool {
        self.reduced().0[0] & 1 == 1
    }

    /// The number whose bytes these are, the lowest first.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut number = ZERO;
        for (word, bytes) in number.0.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        number
    }
}
