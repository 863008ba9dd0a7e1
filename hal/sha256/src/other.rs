//! For processors without instructions that this crate can use.

use crate::State;

/// Never shown.
pub(crate) const NAME: &str = "none";

/// There are none.
pub(crate) const fn is_there() -> bool {
    false
}

/// Does nothing.
///
/// # Safety
/// [`is_there`] has said yes: it never does.
pub(crate) unsafe fn compress(_state: &mut State, _blocks: &[[u8; 64]]) {}
