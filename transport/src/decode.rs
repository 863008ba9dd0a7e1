//! One frame into the piece that it stands for.

use stillboot::driver::Source;

use crate::frame::{Encoding, Entry, Fault, Header, Part, Piece};
use crate::input::Input;
use crate::lzma::Lzma;
use crate::old::Old;
#[cfg(feature = "zstd")]
use crate::zstd::Zstd;
use crate::{lz4, patch};

/// Decodes frames, one after the other.
pub struct Decoder<O> {
    lzma: Lzma,
    #[cfg(feature = "zstd")]
    zstd: Zstd,
    old: O,
}

impl<O> core::fmt::Debug for Decoder<O> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Decoder")
    }
}

impl<O: Old> Decoder<O> {
    /// A decoder of patches from `old`.
    pub const fn new(old: O) -> Self {
        Self {
            lzma: Lzma::new(),
            #[cfg(feature = "zstd")]
            zstd: Zstd::new(),
            old,
        }
    }

    /// The bytes that patches start from.
    pub const fn old(&mut self) -> &mut O {
        &mut self.old
    }

    /// Reads the frame of `piece`, whose entry was read already, and decodes it to `out`, which has
    /// the length of the piece.
    ///
    /// Exactly the bytes of the frame are taken from `source`, also when they are damaged; after
    /// [`Fault::Source`] and [`Fault::Ended`] the position is unknown.
    ///
    /// # Errors
    /// [`Fault`]. `out` then holds anything.
    pub fn decode(
        &mut self,
        header: &Header,
        piece: &Piece,
        entry: Entry,
        source: &mut dyn Source,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let mut input = Input::new(source, entry.len as usize);
        let result = match entry.encoding {
            Encoding::Raw => input.fill(out),
            Encoding::Zero => {
                out.fill(0);
                Ok(())
            }
            Encoding::Lz4 => lz4::decode(&mut input, out),
            #[cfg(feature = "zstd")]
            Encoding::Zstd => self.zstd.decode(&mut input, out),
            #[cfg(not(feature = "zstd"))]
            Encoding::Zstd => Err(Fault::Encoding(Encoding::Zstd as u8)),
            Encoding::Lzma => self.lzma.decode(&mut input, out),
            Encoding::Patch => {
                let base = place(header, piece);
                patch::decode(&mut input, &mut self.lzma, &mut self.old, base, out)
            }
            Encoding::Absent => Err(Fault::Absent),
        };
        match result {
            Err(fault @ (Fault::Source | Fault::Ended)) => Err(fault),
            result => input.finish().and(result),
        }
    }
}

/// Where a piece stands among the components of the bundle, one after the other.
fn place(header: &Header, piece: &Piece) -> u64 {
    match piece.part {
        Part::Chunk(number) => {
            let before = &header.components()[..usize::from(number)];
            before.iter().sum::<u64>() + piece.start
        }
        // No frame of these is a patch.
        Part::Head | Part::Index(_) => 0,
    }
}
