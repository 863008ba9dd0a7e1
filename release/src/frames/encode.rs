//! One piece into one frame.

use std::fmt;
use std::str::FromStr;

use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};
use stillboot_transport::frame::Encoding;
use stillboot_transport::lzma::Parameters;
use zstd_safe::{CCtx, CParameter};

/// How a framed file is compressed. A piece that does not become shorter stays as it is, and a piece
/// of zeros becomes an empty frame in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: fast, and the smallest decoder.
    Lz4,
    /// zstd with this level, 1..=22.
    Zstd(u8),
    /// LZMA with parameters that a microcontroller has room for: the shortest frames.
    Lzma,
}

impl Compression {
    /// The level of zstd where none is asked for.
    pub const ZSTD_LEVEL: u8 = 19;

    /// The encoding of its frames.
    #[must_use]
    pub const fn encoding(self) -> Encoding {
        match self {
            Self::None => Encoding::Raw,
            Self::Lz4 => Encoding::Lz4,
            Self::Zstd(_) => Encoding::Zstd,
            Self::Lzma => Encoding::Lzma,
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected zstd, zstd:LEVEL, lz4, lzma or none, found `{text}`");
        Ok(match text.split_once(':').unwrap_or((text, "")) {
            ("none", "") if text == "none" => Self::None,
            ("lz4", "") if text == "lz4" => Self::Lz4,
            ("lzma", "") if text == "lzma" => Self::Lzma,
            ("zstd", "") if text == "zstd" => Self::Zstd(Self::ZSTD_LEVEL),
            ("zstd", level) => match level.parse() {
                Ok(level @ 1..=22) => Self::Zstd(level),
                _ => return Err(format!("expected a level of zstd from 1 to 22, found `{level}`")),
            },
            _ => return Err(expected()),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Lzma => f.write_str("lzma"),
        }
    }
}

/// Encodes pieces, one after the other; one for each thread.
pub(crate) struct Encoder {
    compression: Compression,
    zstd: Option<CCtx<'static>>,
}

impl Encoder {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, zstd: None }
    }

    /// The shortest frame of `piece`.
    pub(crate) fn encode(&mut self, piece: &[u8]) -> (Encoding, Vec<u8>) {
        if piece.iter().all(|byte| *byte == 0) {
            return (Encoding::Zero, Vec::new());
        }
        let frame = match self.compression {
            Compression::None => None,
            Compression::Lz4 => Some(lz4_flex::block::compress(piece)),
            Compression::Zstd(level) => self.zstd(level, piece),
            Compression::Lzma => lzma(piece, LZMA_PLAIN, Effort::Full),
        };
        match frame {
            Some(frame) if frame.len() < piece.len() => (self.compression.encoding(), frame),
            _ => (Encoding::Raw, piece.to_vec()),
        }
    }

    fn zstd(&mut self, level: u8, piece: &[u8]) -> Option<Vec<u8>> {
        let context = match &mut self.zstd {
            Some(context) => context,
            none => {
                let mut context = CCtx::try_create()?;
                // The length of a piece is known, and its digest is in the index.
                context.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
                context.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
                context.set_parameter(CParameter::DictIdFlag(false)).ok()?;
                context.set_parameter(CParameter::CompressionLevel(level.into())).ok()?;
                none.insert(context)
            }
        };
        // A frame that is not shorter than the piece is of no use.
        let mut frame = vec![0; piece.len()];
        let len = context.compress2(&mut frame[..], piece).ok()?;
        frame.truncate(len);
        Some(frame)
    }
}

/// The parameters for pieces as they are: text and code alike.
pub(crate) const LZMA_PLAIN: Parameters = Parameters { lc: 2, lp: 0, pb: 2 };

/// How long LZMA may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As long as it needs for the shortest stream.
    Full,
    /// A third of that, for a stream that is longer by some percent: to compare parameters.
    Quick,
}

/// One stream of LZMA behind the byte of its parameters.
pub(crate) fn lzma(piece: &[u8], parameters: Parameters, effort: Effort) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let Parameters { lc, lp, pb } = parameters;
    let mut options = LzmaOptions::with_preset(9);
    (options.lc, options.lp, options.pb) = (lc.into(), lp.into(), pb.into());
    // The window is the piece; more would only take memory to clear.
    options.dict_size = (piece.len() as u32).next_power_of_two().max(1 << 12);
    options.mode = EncodeMode::Normal;
    match effort {
        Effort::Full => options.mf = MfType::Bt4,
        Effort::Quick => {
            (options.mf, options.nice_len, options.depth_limit) = (MfType::Hc4, 32, 4);
        }
    }
    let start = vec![parameters.byte()];
    let len = Some(piece.len() as u64);
    let mut writer = LzmaWriter::new(start, &options, false, false, len).ok()?;
    writer.write_all(piece).ok()?;
    writer.finish().ok()
}
