//! The SHA-2 instructions of Armv8.

use crate::State;

/// What the processor's instructions are called in the report.
pub(crate) const NAME: &str = "armv8 sha2";

/// Whether the processor has the instructions.
pub(crate) fn is_there() -> bool {
    let isar0: u64;
    // SAFETY: Reading the register changes nothing. Firmware runs at EL1 or EL2, where it may be
    // read; Linux answers for it to its programs.
    unsafe {
        core::arch::asm!("mrs {}, id_aa64isar0_el1", out(reg) isar0, options(nomem, nostack));
    }
    has(isar0)
}

/// The field SHA2 of ID_AA64ISAR0_EL1: 1 is SHA-256, 2 is SHA-512 as well.
const fn has(isar0: u64) -> bool {
    isar0 >> 12 & 0xf != 0
}

/// Takes whole blocks into the state.
///
/// # Safety
/// [`is_there`] has said yes.
pub(crate) unsafe fn compress(state: &mut State, blocks: &[[u8; 64]]) {
    // SAFETY: The processor has the instructions, says the caller. The code reads `blocks.len()`
    // blocks and the constants, reads and writes the state, and keeps what the ABI demands.
    unsafe {
        stillboot_sha256_armv8(state.as_mut_ptr(), blocks.as_ptr(), blocks.len(), &CONSTANTS);
    }
}

unsafe extern "C" {
    fn stillboot_sha256_armv8(
        state: *mut u32,
        blocks: *const [u8; 64],
        count: usize,
        constants: *const [u32; 64],
    );
}

/// Handed to the code by address, so that it needs no data section and no relocation of its own.
static CONSTANTS: [u32; 64] = crate::ROUNDS;

// In: x0 state, x1 blocks, x2 count, x3 constants. Only registers that belong to the callee's
// caller are left alone: v8 to v15 and the stack are not touched at all.
//
//   v0 v1     the state: words a b c d, and e f g h
//   v2        scratch: a b c d before the rounds
//   v3        words and constants of the rounds that come
//   v4-v7     the latest sixteen words of the message schedule
//   v16-v31   all constants of the rounds
//
// A group is four rounds. `a` are its words, `b`, `c`, `d` those of the three groups after it; the
// words of the fourth are made in the place of `a`, between rounds that wait for each other.
core::arch::global_asm!(
    ".arch_extension sha2",
    ".macro stillboot_rounds k, a",
    "add v3.4s, \\a\\().4s, \\k\\().4s",
    "mov v2.16b, v0.16b",
    "sha256h q0, q1, v3.4s",
    "sha256h2 q1, q2, v3.4s",
    ".endm",
    ".macro stillboot_group k, a, b, c, d",
    "add v3.4s, \\a\\().4s, \\k\\().4s",
    "sha256su0 \\a\\().4s, \\b\\().4s",
    "mov v2.16b, v0.16b",
    "sha256h q0, q1, v3.4s",
    "sha256h2 q1, q2, v3.4s",
    "sha256su1 \\a\\().4s, \\c\\().4s, \\d\\().4s",
    ".endm",
    ".text",
    ".p2align 4",
    ".globl stillboot_sha256_armv8",
    "stillboot_sha256_armv8:",
    "cbz x2, 3f",
    "ld1 {{v16.4s-v19.4s}}, [x3], #64",
    "ld1 {{v20.4s-v23.4s}}, [x3], #64",
    "ld1 {{v24.4s-v27.4s}}, [x3], #64",
    "ld1 {{v28.4s-v31.4s}}, [x3]",
    // By elements: with the MMU off, as in a loader without firmware, memory takes no access that is
    // not aligned, and the state is aligned to its words only.
    "ld1 {{v0.4s-v1.4s}}, [x0]",
    "2:",
    "ld1 {{v4.16b-v7.16b}}, [x1], #64",
    "rev32 v4.16b, v4.16b",
    "rev32 v5.16b, v5.16b",
    "rev32 v6.16b, v6.16b",
    "rev32 v7.16b, v7.16b",
    "stillboot_group v16, v4, v5, v6, v7",
    "stillboot_group v17, v5, v6, v7, v4",
    "stillboot_group v18, v6, v7, v4, v5",
    "stillboot_group v19, v7, v4, v5, v6",
    "stillboot_group v20, v4, v5, v6, v7",
    "stillboot_group v21, v5, v6, v7, v4",
    "stillboot_group v22, v6, v7, v4, v5",
    "stillboot_group v23, v7, v4, v5, v6",
    "stillboot_group v24, v4, v5, v6, v7",
    "stillboot_group v25, v5, v6, v7, v4",
    "stillboot_group v26, v6, v7, v4, v5",
    "stillboot_group v27, v7, v4, v5, v6",
    "stillboot_rounds v28, v4",
    "stillboot_rounds v29, v5",
    "stillboot_rounds v30, v6",
    "stillboot_rounds v31, v7",
    // The words of the message are used up: their registers take the state before this block.
    "ld1 {{v4.4s-v5.4s}}, [x0]",
    "add v0.4s, v0.4s, v4.4s",
    "add v1.4s, v1.4s, v5.4s",
    "st1 {{v0.4s-v1.4s}}, [x0]",
    "subs x2, x2, #1",
    "b.ne 2b",
    "3:",
    "ret",
    ".purgem stillboot_rounds",
    ".purgem stillboot_group",
    ".arch_extension nosha2",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_of_sha2_decides_and_no_other() {
        assert!(has(1 << 12));
        assert!(has(2 << 12));
        assert!(!has(!(0xf << 12)));
        assert!(!has(0));
    }
}
