//! A processor without the SHA-2 instructions, made of one that has them: starts at EL2 from the
//! flash of QEMU's `virt`, answers for the processor's identification registers, and leaves the
//! field of SHA-2 out of its answers. What it starts at EL1, at 2 MiB into memory, cannot tell.
//!
//! It uses no memory, because all of it is the loader's: registers of EL2 that nothing here needs
//! keep what an answer would overwrite.

#![no_std]
#![no_main]

core::arch::global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    // 64 bits at EL1, and every read of an identification register comes here.
    "movz x0, #0x8004, lsl #16",
    "msr hcr_el2, x0",
    "adr x0, vectors",
    "msr vbar_el2, x0",
    "mov x0, #0x33ff",
    "msr cptr_el2, x0",
    // EL1 has the timers to itself.
    "mov x0, #3",
    "msr cnthctl_el2, x0",
    "msr cntvoff_el2, xzr",
    // The boot protocol: no MMU, interrupts masked, the tree in x0.
    "movz x0, #0x30d0, lsl #16",
    "movk x0, #0x0800",
    "msr sctlr_el1, x0",
    "mrs x0, midr_el1",
    "msr vpidr_el2, x0",
    "mrs x0, mpidr_el1",
    "msr vmpidr_el2, x0",
    "mov x0, #0x3c5",
    "msr spsr_el2, x0",
    "movz x1, #0x4020, lsl #16",
    "msr elr_el2, x1",
    "movz x0, #0x4000, lsl #16",
    "mov x1, xzr",
    "mov x2, xzr",
    "mov x3, xzr",
    "eret",
    "",
    "answer:",
    "msr tpidr_el2, x0",
    "msr far_el2, x1",
    "msr cnthp_cval_el2, x2",
    "mrs x0, esr_el2",
    "lsr x1, x0, #26",
    "cmp x1, #0x18",
    "b.ne .",
    // The register's number: CRm and op2 of S3_0_C0_<CRm>_<op2>.
    "ubfx x1, x0, #1, #4",
    "ubfx x2, x0, #17, #3",
    "add x1, x2, x1, lsl #3",
    "adr x2, reads",
    "add x2, x2, x1, lsl #3",
    "br x2",
    "have:",
    // ID_AA64ISAR0_EL1 is S3_0_C0_C6_0; bits 12 to 15 are those of SHA-2.
    "movz x2, #0x001e",
    "movk x2, #0x000e, lsl #16",
    "and x2, x0, x2",
    "cmp x2, #12",
    "b.ne 1f",
    "and x1, x1, #0xffffffffffff0fff",
    "1: mrs x2, elr_el2",
    "add x2, x2, #4",
    "msr elr_el2, x2",
    "ubfx x0, x0, #5, #5",
    "adr x2, writes",
    "add x2, x2, x0, lsl #3",
    "br x2",
    "reads:",
    ".irp m, 0, 1, 2, 3, 4, 5, 6, 7",
    ".irp o, 0, 1, 2, 3, 4, 5, 6, 7",
    "mrs x1, S3_0_C0_C\\m\\()_\\o",
    "b have",
    ".endr",
    ".endr",
    "writes:",
    "msr tpidr_el2, x1",
    "b done",
    "msr far_el2, x1",
    "b done",
    "msr cnthp_cval_el2, x1",
    "b done",
    ".irp n, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
    "mov x\\n, x1",
    "b done",
    ".endr",
    "nop",
    "done: mrs x2, cnthp_cval_el2",
    "mrs x1, far_el2",
    "mrs x0, tpidr_el2",
    "eret",
    "",
    ".balign 2048",
    "vectors:",
    ".rept 8",
    ".balign 128",
    "b .",
    ".endr",
    // From EL1, synchronous.
    ".balign 128",
    "b answer",
    ".balign 128",
);

/// There is nothing that could.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
