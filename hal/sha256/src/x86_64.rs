//! SHA-NI.
//!
//! In `global_asm!`, because the UEFI target is compiled without SSE: the compiler would neither
//! inline an intrinsic nor pass a vector there. The firmware itself runs with SSE enabled, as UEFI
//! demands.

use core::arch::x86_64::__cpuid_count;

use crate::State;

/// What the processor's instructions are called in the report.
pub(crate) const NAME: &str = "sha-ni";

const SSSE3: u32 = 1 << 9;
const SSE4_1: u32 = 1 << 19;
const SHA: u32 = 1 << 29;

/// Whether the processor has all instructions that [`compress`] uses.
#[allow(unused_unsafe, reason = "asking is unsafe up to Rust 1.92")]
pub(crate) fn is_there() -> bool {
    // SAFETY: Every x86_64 processor has CPUID, and leaf 0 tells whether there is a leaf 7.
    unsafe { __cpuid_count(0, 0).eax >= 7 && has(__cpuid_count(1, 0).ecx, __cpuid_count(7, 0).ebx) }
}

/// `ecx` of leaf 1 and `ebx` of leaf 7. The instructions beside SHA are asked for as well: a
/// hypervisor may mask any of them.
const fn has(ecx_1: u32, ebx_7: u32) -> bool {
    ecx_1 & SSSE3 != 0 && ecx_1 & SSE4_1 != 0 && ebx_7 & SHA != 0
}

/// Takes whole blocks into the state.
///
/// # Safety
/// [`is_there`] has said yes.
pub(crate) unsafe fn compress(state: &mut State, blocks: &[[u8; 64]]) {
    // SAFETY: The processor has the instructions, says the caller. The code reads `blocks.len()`
    // blocks and the constants, reads and writes the state, and keeps what the ABI demands.
    unsafe {
        stillboot_sha256_ni(state.as_mut_ptr(), blocks.as_ptr(), blocks.len(), &CONSTANTS);
    }
}

unsafe extern "sysv64" {
    fn stillboot_sha256_ni(
        state: *mut u32,
        blocks: *const [u8; 64],
        count: usize,
        constants: *const Constants,
    );
}

/// Handed to the code by address, so that it needs no data section and no relocation of its own.
#[repr(C, align(16))]
struct Constants {
    /// The mask for `pshufb` that turns each word from big-endian.
    swap: [u8; 16],
    rounds: [u32; 64],
}

static CONSTANTS: Constants = Constants {
    swap: [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12],
    rounds: crate::ROUNDS,
};

// In: rdi state, rsi blocks, rdx count, rcx constants. The same convention on every system, but
// xmm6 and up are kept: to a UEFI caller they belong to the callee, and a compiler without SSE does
// not keep them in between. No label but numbers, no data, no call, no red zone.
//
//   xmm0        words and constants of the rounds that come (read implicitly by sha256rnds2)
//   xmm1 xmm2   the state as the instruction wants it: words a b e f, and c d g h
//   xmm3-xmm6   the latest sixteen words of the message schedule
//   xmm7        scratch
//   xmm8 xmm9   the state before this block
//   xmm10       the mask
//
// A group is four rounds: `w` are its words, `next` the place of the words of the group after it,
// `last` those of the group before. Words are made one group ahead, between the two halves of a
// group, since the rounds wait for each other and the schedule does not.
core::arch::global_asm!(
    ".macro stillboot_rounds group, w",
    "movdqa xmm0, \\w",
    "paddd xmm0, [rcx + 16 + 16 * \\group]",
    "sha256rnds2 xmm2, xmm1",
    ".endm",
    ".macro stillboot_half",
    "pshufd xmm0, xmm0, 0x0e",
    "sha256rnds2 xmm1, xmm2",
    ".endm",
    ".macro stillboot_load group, w",
    "movdqu \\w, [rsi + 16 * \\group]",
    "pshufb \\w, xmm10",
    ".endm",
    ".macro stillboot_words w, next, last",
    "movdqa xmm7, \\w",
    "palignr xmm7, \\last, 4",
    "paddd \\next, xmm7",
    "sha256msg2 \\next, \\w",
    ".endm",
    ".macro stillboot_group group, w, next, last",
    "stillboot_rounds \\group, \\w",
    "stillboot_words \\w, \\next, \\last",
    "stillboot_half",
    "sha256msg1 \\last, \\w",
    ".endm",
    ".text",
    ".p2align 5",
    ".globl stillboot_sha256_ni",
    "stillboot_sha256_ni:",
    "test rdx, rdx",
    "jz 3f",
    "sub rsp, 88",
    "movdqu [rsp], xmm6",
    "movdqu [rsp + 16], xmm7",
    "movdqu [rsp + 32], xmm8",
    "movdqu [rsp + 48], xmm9",
    "movdqu [rsp + 64], xmm10",
    "movdqa xmm10, [rcx]",
    // a b c d and e f g h, to a b e f and c d g h.
    "movdqu xmm1, [rdi]",
    "movdqu xmm2, [rdi + 16]",
    "pshufd xmm1, xmm1, 0xb1",
    "pshufd xmm2, xmm2, 0x1b",
    "movdqa xmm7, xmm1",
    "palignr xmm1, xmm2, 8",
    "pblendw xmm2, xmm7, 0xf0",
    ".p2align 5",
    "2:",
    "movdqa xmm8, xmm1",
    "movdqa xmm9, xmm2",
    "stillboot_load 0, xmm3",
    "stillboot_rounds 0, xmm3",
    "stillboot_half",
    "stillboot_load 1, xmm4",
    "stillboot_rounds 1, xmm4",
    "stillboot_half",
    "sha256msg1 xmm3, xmm4",
    "stillboot_load 2, xmm5",
    "stillboot_rounds 2, xmm5",
    "stillboot_half",
    "sha256msg1 xmm4, xmm5",
    "stillboot_load 3, xmm6",
    "stillboot_group 3, xmm6, xmm3, xmm5",
    "stillboot_group 4, xmm3, xmm4, xmm6",
    "stillboot_group 5, xmm4, xmm5, xmm3",
    "stillboot_group 6, xmm5, xmm6, xmm4",
    "stillboot_group 7, xmm6, xmm3, xmm5",
    "stillboot_group 8, xmm3, xmm4, xmm6",
    "stillboot_group 9, xmm4, xmm5, xmm3",
    "stillboot_group 10, xmm5, xmm6, xmm4",
    "stillboot_group 11, xmm6, xmm3, xmm5",
    "stillboot_group 12, xmm3, xmm4, xmm6",
    "stillboot_rounds 13, xmm4",
    "stillboot_words xmm4, xmm5, xmm3",
    "stillboot_half",
    "stillboot_rounds 14, xmm5",
    "stillboot_words xmm5, xmm6, xmm4",
    "stillboot_half",
    "stillboot_rounds 15, xmm6",
    "stillboot_half",
    "paddd xmm1, xmm8",
    "paddd xmm2, xmm9",
    "add rsi, 64",
    "dec rdx",
    "jnz 2b",
    // And back.
    "pshufd xmm1, xmm1, 0x1b",
    "pshufd xmm2, xmm2, 0xb1",
    "movdqa xmm7, xmm1",
    "pblendw xmm1, xmm2, 0xf0",
    "palignr xmm2, xmm7, 8",
    "movdqu [rdi], xmm1",
    "movdqu [rdi + 16], xmm2",
    "movdqu xmm6, [rsp]",
    "movdqu xmm7, [rsp + 16]",
    "movdqu xmm8, [rsp + 32]",
    "movdqu xmm9, [rsp + 48]",
    "movdqu xmm10, [rsp + 64]",
    "add rsp, 88",
    "3:",
    "ret",
    ".purgem stillboot_rounds",
    ".purgem stillboot_half",
    ".purgem stillboot_load",
    ".purgem stillboot_words",
    ".purgem stillboot_group",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_feature_masked_is_enough_to_refuse() {
        assert!(has(SSSE3 | SSE4_1, SHA));
        assert!(!has(SSE4_1, SHA));
        assert!(!has(SSSE3, SHA));
        assert!(!has(SSSE3 | SSE4_1, !SHA));
    }

    /// To a UEFI caller these registers are its own; a compiler without SSE does not look after them.
    #[test]
    fn registers_that_belong_to_a_uefi_caller_are_kept() {
        if !is_there() {
            std::println!("SKIPPED: this processor has no SHA-NI");
            return;
        }
        let mut before = [0_u8; 160];
        (0..160).for_each(|at| before[at as usize] = at ^ 0xa5);
        let (mut after, mut state) = ([0_u8; 160], crate::START);
        let blocks = [[7; 64]; 3];
        // SAFETY: The arrays have room for ten registers each; the call is that of `compress`, and
        // the compiler is told that all its registers change.
        unsafe {
            core::arch::asm!(
                "movdqu xmm6, [r12]", "movdqu xmm7, [r12 + 16]", "movdqu xmm8, [r12 + 32]",
                "movdqu xmm9, [r12 + 48]", "movdqu xmm10, [r12 + 64]", "movdqu xmm11, [r12 + 80]",
                "movdqu xmm12, [r12 + 96]", "movdqu xmm13, [r12 + 112]",
                "movdqu xmm14, [r12 + 128]", "movdqu xmm15, [r12 + 144]",
                "call {call}",
                "movdqu [r13], xmm6", "movdqu [r13 + 16], xmm7", "movdqu [r13 + 32], xmm8",
                "movdqu [r13 + 48], xmm9", "movdqu [r13 + 64], xmm10", "movdqu [r13 + 80], xmm11",
                "movdqu [r13 + 96], xmm12", "movdqu [r13 + 112], xmm13",
                "movdqu [r13 + 128], xmm14", "movdqu [r13 + 144], xmm15",
                call = sym stillboot_sha256_ni,
                in("r12") before.as_ptr(),
                in("r13") after.as_mut_ptr(),
                in("rdi") state.as_mut_ptr(),
                in("rsi") blocks.as_ptr(),
                in("rdx") blocks.len(),
                in("rcx") &raw const CONSTANTS,
                clobber_abi("sysv64"),
            );
        }
        assert_eq!(before, after);
        assert_ne!(state, crate::START);
    }
}
