//! The memory functions that compilers call, in few bytes.
//!
//! On a target without a C library, Rust brings its own, written to be fast: on a Cortex-M4 they
//! take 2 KB, because each alignment has a copy. A boot loader spends its time in SHA-256 and
//! Ed25519. Link this crate (`use stillboot_mem as _;`) and the linker takes these instead, because
//! Rust's are weak. On targets with an operating system this crate is empty.
//!
//! # Types of other crates
//!
//! None: the crate has no dependencies and no public items.
//!
//! # Example
//!
//! ```
//! use stillboot_mem as _;
//!
//! // On a target without a C library this is a call of `memcpy`, and the linker takes the small one.
//! let mut copy = [0; 4];
//! copy.copy_from_slice(b"boot");
//! assert_eq!(&copy, b"boot");
//! ```

#![no_std]
// Without this attribute the compiler would replace the loops by calls of the very functions they
// are in.
#![no_builtins]

#[cfg(target_os = "none")]
mod functions {
    use core::ptr::{read, write};

    /// Copies from the first byte to the last.
    ///
    /// # Safety
    /// As C has it: both ranges are valid and do not overlap.
    #[unsafe(no_mangle)]
    #[inline(never)]
    unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, len: usize) -> *mut u8 {
        for at in 0..len {
            // SAFETY: `at` is below the length of both ranges.
            unsafe { write(target.wrapping_add(at), read(source.wrapping_add(at))) };
        }
        target
    }

    /// Copies in the direction that reads each byte before it is written over.
    ///
    /// # Safety
    /// As C has it: both ranges are valid.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(target: *mut u8, source: *const u8, len: usize) -> *mut u8 {
        if target.cast_const() <= source {
            // SAFETY: going up, what is read lies ahead of what is written.
            return unsafe { memcpy(target, source, len) };
        }
        for at in (0..len).rev() {
            // SAFETY: `at` is below the length of both ranges.
            unsafe { write(target.wrapping_add(at), read(source.wrapping_add(at))) };
        }
        target
    }

    /// Fills with a byte.
    ///
    /// # Safety
    /// As C has it: the range is valid.
    #[unsafe(no_mangle)]
    #[inline(never)]
    unsafe extern "C" fn memset(target: *mut u8, byte: i32, len: usize) -> *mut u8 {
        for at in 0..len {
            // SAFETY: `at` is below the length of the range.
            unsafe { write(target.wrapping_add(at), byte as u8) };
        }
        target
    }

    /// The difference of the first bytes that differ.
    ///
    /// # Safety
    /// As C has it: both ranges are valid.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
        for at in 0..len {
            // SAFETY: `at` is below the length of both ranges.
            let (one, other) =
                unsafe { (read(one.wrapping_add(at)), read(other.wrapping_add(at))) };
            if one != other {
                return i32::from(one) - i32::from(other);
            }
        }
        0
    }

    /// The names that compilers use on 32-bit Arm. The numbers at their end promise an alignment,
    /// of which nothing is made here.
    #[cfg(target_arch = "arm")]
    mod arm {
        use super::{memcpy, memmove, memset};

        macro_rules! copies {
            ($($name:ident = $function:ident),+) => { $(
                /// # Safety
                /// As the function it is another name of.
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $name(target: *mut u8, source: *const u8, len: usize) {
                    // SAFETY: what the caller promises is what is needed.
                    unsafe { $function(target, source, len) };
                }
            )+ };
        }
        copies!(__aeabi_memcpy = memcpy, __aeabi_memcpy4 = memcpy, __aeabi_memcpy8 = memcpy);
        copies!(__aeabi_memmove = memmove, __aeabi_memmove4 = memmove, __aeabi_memmove8 = memmove);

        macro_rules! fills {
            ($($set:ident $clear:ident),+) => { $(
                /// # Safety
                /// As `memset`, whose last two arguments stand the other way round.
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $set(target: *mut u8, len: usize, byte: i32) {
                    // SAFETY: what the caller promises is what is needed.
                    unsafe { memset(target, byte, len) };
                }

                /// # Safety
                /// As `memset`.
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $clear(target: *mut u8, len: usize) {
                    // SAFETY: what the caller promises is what is needed.
                    unsafe { memset(target, 0, len) };
                }
            )+ };
        }
        fills!(__aeabi_memset __aeabi_memclr, __aeabi_memset4 __aeabi_memclr4,
            __aeabi_memset8 __aeabi_memclr8);
    }
}
