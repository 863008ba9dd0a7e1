//! Text of bounded length inside values that are copied.

use core::fmt::{self, Display, Formatter, Write as _};

/// Text of up to `N` bytes inside a value that is copied: what a refusal quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Label<const N: usize = 32> {
    text: [u8; N],
    /// At most `N`, and so at most 255 bytes whatever `N` is.
    len: u8,
    /// Whether there were more bytes.
    cut: bool,
}

impl<const N: usize> Label<N> {
    /// The text that `value` displays. What does not fit is cut off, and `..` shown in its place.
    #[must_use]
    pub fn of(value: &impl Display) -> Self {
        let mut label = Self { text: [0; N], len: 0, cut: false };
        // It fails only where the label is full, and then it is marked as cut.
        let _ = write!(label, "{value}");
        label
    }

    /// The text, without a sign that it was cut.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever put in.
        let text = self.text.get(..usize::from(self.len)).unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("")
    }
}

impl<const N: usize> fmt::Write for Label<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let start = usize::from(self.len);
            let into = self.text.get_mut(start..start + bytes.len());
            let (Some(into), Ok(len)) = (into, u8::try_from(start + bytes.len())) else {
                self.cut = true;
                return Err(fmt::Error);
            };
            into.copy_from_slice(bytes);
            self.len = len;
        }
        Ok(())
    }
}

impl<const N: usize> Display for Label<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if self.cut { f.write_str("..") } else { Ok(()) }
    }
}

impl<const N: usize> fmt::Debug for Label<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
