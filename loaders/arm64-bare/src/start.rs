//! The first and the last instructions: how the loader is entered, and what happens at an exception
//! of the processor.
//!
//! The loader is itself an image of the Linux boot protocol, so that every program that starts
//! kernels can start it: QEMU with `-kernel`, or another boot loader. It gets the device tree in `x0`, with MMU and
//! data caches off, and keeps them off.

// Why: docs/DESIGN.md#why-bare-loader-is-linux-image
// Why: docs/DESIGN.md#why-mmu-stays-off

use core::arch::global_asm;

use crate::{extent, psci};

/// Far more than the deepest call takes: 16 KiB for two signatures and a keyset.
const STACK_LEN: usize = 128 << 10;

#[repr(C, align(16))]
struct Stack([u8; STACK_LEN]);

/// Used by the instructions below only.
#[unsafe(no_mangle)]
static mut STACK: Stack = Stack([0; STACK_LEN]);

global_asm!(
    ".section .head, \"ax\"",
    ".global start",
    // The header that QEMU and other loaders look for: 64 bytes.
    "start:",
    "    b       enter_loader",
    "    .long   0",
    "    .quad   0",          // text_offset: at any multiple of 2 MiB
    "    .quad   image_size", // with .bss and the stack
    "    .quad   0b1010",     // little-endian, pages of 4 KiB, anywhere in memory
    "    .quad   0, 0, 0",
    "    .ascii  \"ARM\\x64\"",
    "    .long   0",
    "",
    ".text",
    "enter_loader:",
    "    msr     daifset, #15",
    "    mov     x20, x0",
    // Floating point must not trap: the compiler uses its registers to copy.
    "    mov     x1, #(3 << 20)",
    "    adr     x2, vectors",
    "    mrs     x3, CurrentEL",
    "    lsr     x3, x3, #2",
    "    cmp     x3, #1",
    "    b.eq    1f",
    "    cmp     x3, #2",
    "    b.ne    park",
    "    mrs     x3, hcr_el2",
    "    tbnz    x3, #34, 0f",
    // Without the virtualization host extension the register has other bits.
    "    mov     x1, #0x33ff",
    "0:  msr     cptr_el2, x1",
    "    msr     vbar_el2, x2",
    "    b       2f",
    "1:  msr     cpacr_el1, x1",
    "    msr     vbar_el1, x2",
    "2:  isb",
    // The program that started us cleaned the caches for our image, but not for the memory behind
    // it: a dirty cache line of .bss could later overwrite our data.
    "    adrp    x0, bss_start",
    "    add     x0, x0, :lo12:bss_start",
    "    adrp    x1, bss_end",
    "    add     x1, x1, :lo12:bss_end",
    "    mrs     x2, ctr_el0",
    "    ubfx    x2, x2, #16, #4",
    "    mov     x3, #4",
    "    lsl     x2, x3, x2",
    "    sub     x3, x2, #1",
    "    bic     x3, x0, x3",
    "3:  dc      ivac, x3",
    "    add     x3, x3, x2",
    "    cmp     x3, x1",
    "    b.lo    3b",
    "    dsb     sy",
    "4:  stp     xzr, xzr, [x0], #16",
    "    cmp     x0, x1",
    "    b.lo    4b",
    // Addresses in our data were counted from 0: add where we are. All are of the one kind that an
    // image without a dynamic linker has.
    "    adr     x0, start",
    "    adrp    x1, rela_start",
    "    add     x1, x1, :lo12:rela_start",
    "    adrp    x2, rela_end",
    "    add     x2, x2, :lo12:rela_end",
    "5:  cmp     x1, x2",
    "    b.hs    6f",
    "    ldp     x3, x4, [x1], #16",
    "    ldr     x5, [x1], #8",
    "    cmp     w4, #1027", // R_AARCH64_RELATIVE
    "    b.ne    park",
    "    add     x5, x5, x0",
    "    str     x5, [x0, x3]",
    "    b       5b",
    "6:  adrp    x1, {stack}",
    "    add     x1, x1, :lo12:{stack}",
    "    add     sp, x1, #{stack_len}",
    "    mov     x0, x20",
    "    mov     x29, xzr",
    "    mov     x30, xzr",
    "    bl      {main}",
    "park:",
    "    wfe",
    "    b       park",
    "",
    // Every exception is a fault of ours: there are no interrupts, and nothing is translated.
    ".balign 2048",
    "vectors:",
    ".rept 16",
    "    .balign 128",
    "    b       7f",
    ".endr",
    ".balign 128",
    "7:  adrp    x1, {stack}",
    "    add     x1, x1, :lo12:{stack}",
    "    add     sp, x1, #{stack_len}",
    "    mrs     x3, CurrentEL",
    "    cmp     x3, #(1 << 2)",
    "    b.eq    8f",
    "    mrs     x0, esr_el2",
    "    mrs     x1, elr_el2",
    "    mrs     x2, far_el2",
    "    bl      {stumbled}",
    "8:  mrs     x0, esr_el1",
    "    mrs     x1, elr_el1",
    "    mrs     x2, far_el1",
    "    bl      {stumbled}",
    stack = sym STACK,
    stack_len = const STACK_LEN,
    main = sym crate::boot::main,
    stumbled = sym stumbled,
);

extern "C" fn stumbled(syndrome: u64, at: u64, address: u64) -> ! {
    let at = at.wrapping_sub(extent::of_loader().0);
    crate::console::line(format_args!(
        "stillboot: exception {syndrome:#x} at {at:#x} of the loader, address {address:#x}"
    ));
    psci::reset()
}
