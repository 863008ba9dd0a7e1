//! The rejection suite as `tests/attacks/rejection` leaves it: fields, each behind its length.

/// What is left of the table.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// All of it.
    pub const fn new(table: &'a [u8]) -> Self {
        Self(table)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next field.
    ///
    /// # Panics
    /// If the table was cut short.
    pub fn bytes(&mut self) -> &'a [u8] {
        let (len, rest) = self.0.split_first_chunk().expect("a whole table");
        let (field, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        self.0 = rest;
        field
    }

    /// The next field, of fixed length.
    ///
    /// # Panics
    /// If it has another one.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes().try_into().expect("a field of this length")
    }

    /// The next field, a text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&mut self) -> &'a str {
        core::str::from_utf8(self.bytes()).expect("a text")
    }

    /// The next field, a number.
    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
