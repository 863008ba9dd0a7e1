//! Points of -x^2 + y^2 = 1 + d x^2 y^2, and numbers modulo their order.

use crate::field::{Field, ONE, ZERO};

/// d = -121665 / 121666.
const D: Field = Field([
    0x1359_78a3,
    0x75eb_4dca,
    0x4141_d8ab,
    0x0070_0a4d,
    0x7779_e898,
    0x8cc7_4079,
    0x2b6f_fe73,
    0x5203_6cee,
]);

/// A square root of -1.
const ROOT: Field = Field([
    0x4a0e_a0b0,
    0xc4ee_1b27,
    0xad2f_e478,
    0x2f43_1806,
    0x3dfb_d7a7,
    0x2b4d_0099,
    0x4fc1_df0b,
    0x2b83_2480,
]);

/// The order of the base point, 2^252 + 27742317777372353535851937790883648493.
const ORDER: [u32; 8] = [0x5cf5_d3ed, 0x5812_631a, 0xa2f7_9cd6, 0x14de_f9de, 0, 0, 0, 0x1000_0000];

/// A point by x = X/Z, y = Y/Z and T = XY/Z.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    x: Field,
    y: Field,
    z: Field,
    t: Field,
}

pub(crate) const IDENTITY: Point = Point { x: ZERO, y: ONE, z: ONE, t: ZERO };

impl Point {
    /// Reads a point (RFC 8032, section 5.1.3), but for the tests of the bytes: `None` if there is
    /// none with this y.
    #[inline(never)]
    pub(crate) fn decode(encoded: &[u8; 32]) -> Option<Self> {
        let mut y = Field::from_bytes(encoded);
        let is_odd = y.0[7] >> 31 == 1;
        y.0[7] &= u32::MAX >> 1;
        // x^2 = u / v
        let squared = y.squared();
        let u = squared.plus(-1, &ONE);
        let v = D.times(&squared).plus(1, &ONE);
        // The root of u/v, up to a root of -1: its square times v is u (u v)^((p-1)/4).
        let mut x = u.times(&v).power().times(&u);
        let check = x.squared().times(&v);
        if !check.is_equal(&u) {
            if !check.is_equal(&u.negated()) {
                return None;
            }
            x = x.times(&ROOT);
        }
        if x.is_odd() != is_odd {
            x = x.negated();
        }
        Some(Self { x, y, z: ONE, t: x.times(&y) })
    }

    pub(crate) fn negate(&mut self) {
        self.x = self.x.negated();
        self.t = self.t.negated();
    }

    /// Complete: also for equal points, and for the identity.
    #[inline(never)]
    pub(crate) fn add(&mut self, other: &Self) {
        let a = self.y.plus(-1, &self.x).times(&other.y.plus(-1, &other.x));
        let b = self.y.plus(1, &self.x).times(&other.y.plus(1, &other.x));
        let c = self.t.times(&D).times(&other.t);
        let d = self.z.times(&other.z);
        // Twice c and twice d are what the formulas have.
        let e = b.plus(-1, &a);
        let f = ZERO.plus(2, &d).plus(-2, &c);
        let g = ZERO.plus(2, &d).plus(2, &c);
        let h = b.plus(1, &a);
        *self = Self { x: e.times(&f), y: g.times(&h), z: f.times(&g), t: e.times(&h) };
    }

    pub(crate) fn double(&mut self) {
        let same = *self;
        self.add(&same);
    }

    pub(crate) fn is_identity(&self) -> bool {
        self.x.is_equal(&ZERO) && self.y.is_equal(&self.z)
    }
}

/// A number of 64 bytes, the lowest first, modulo the order.
pub(crate) fn modulo_order(number: &[u8; 64]) -> [u8; 32] {
    let mut rest = [0_u32; 8];
    for at in (0..512).rev() {
        // Below twice the order, so below 2^254.
        let mut carry = u32::from(number[at / 8] >> (at % 8) & 1);
        for word in &mut rest {
            (*word, carry) = (*word << 1 | carry, *word >> 31);
        }
        let mut less = rest;
        let mut borrow = 0;
        for (word, order) in less.iter_mut().zip(ORDER) {
            borrow += i64::from(*word) - i64::from(order);
            *word = borrow as u32;
            borrow >>= 32;
        }
        if borrow == 0 {
            rest = less;
        }
    }
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(rest) {
        *bytes = word.to_le_bytes();
    }
    bytes
}
