//! zstd's own library.

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use crate::frame::Fault;
use crate::input::Input;

/// A frame that would need a longer window than the longest chunk is refused: it cannot be ours, and
/// the window is memory.
const WINDOW_LOG_MAX: u32 = stillboot::format::manifest::CHUNK_SIZE_MAX.ilog2();

/// The context of the library, made when the first frame comes.
pub struct Zstd(Option<DCtx<'static>>);

impl Zstd {
    /// No context yet.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Decodes one frame, all that is left of `input`, that fills `out`.
    pub fn decode(&mut self, input: &mut Input<'_>, out: &mut [u8]) -> Result<(), Fault> {
        let context = match &mut self.0 {
            Some(context) => context,
            none => {
                let mut context = DCtx::try_create().ok_or(Fault::Source)?;
                context
                    .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
                    .map_err(|_| Fault::Source)?;
                none.insert(context)
            }
        };
        // A frame before this one may have ended in damage.
        context.reset(zstd_safe::ResetDirective::SessionOnly).map_err(|_| Fault::Source)?;
        let mut to = OutBuffer::around(out);
        loop {
            let mut from = InBuffer::around(input.some()?);
            let before = (from.pos(), to.pos());
            let hint = context.decompress_stream(&mut to, &mut from).map_err(|_| Fault::Damaged)?;
            let taken = from.pos();
            // Neither taking nor giving bytes: the frame has more to give than the piece holds.
            let is_stuck = (taken, to.pos()) == before;
            input.consume(taken);
            if hint == 0 {
                let is_whole = input.left() == 0 && to.pos() == to.capacity();
                return if is_whole { Ok(()) } else { Err(Fault::Damaged) };
            }
            if is_stuck || input.left() == 0 {
                return Err(Fault::Damaged);
            }
        }
    }
}
