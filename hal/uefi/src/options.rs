//! The load options of a kernel: its command line as UCS-2.

use alloc::vec::Vec;

use stillboot::format::BootProof;
use stillboot_boot_support::command_line::{CommandLineError, command_line};

/// The load options for a kernel. `cmdline` is the verified component, empty if there is none; a
/// kernel from no slot has no proof.
///
/// # Errors
/// [`CommandLineError`].
pub fn load_options(
    cmdline: &[u8],
    proof: Option<&BootProof>,
) -> Result<Vec<u16>, CommandLineError> {
    // Printable ASCII and the final zero: every byte is the same in UCS-2.
    Ok(command_line(cmdline, proof)?.into_iter().map(u16::from).collect())
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use stillboot::format::Slot;

    use super::*;

    #[test]
    fn they_are_the_command_line_and_end_with_a_zero() {
        let proof = BootProof {
            slot: Slot::B,
            digest: [0xab; 32],
            attempt: 2,
            nonce: 7,
            keyset_version: 1,
            record_version: 1,
            manifest_schema: 1,
        };
        let mut options = load_options(b"panic=1\n", Some(&proof)).unwrap();
        assert_eq!(options.pop(), Some(0));
        let text = String::from_utf16(&options).unwrap();
        assert!(text.starts_with("panic=1 stillboot.proof=1:b:abab"), "{text}");
    }
}
