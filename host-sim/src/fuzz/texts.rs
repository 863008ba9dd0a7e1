//! What is read from text: versions, channels, windows, and boot proofs where loaders leave them.

use stillboot::format::names::PROOF_PARAMETER;
use stillboot::format::{BootProof, Slot};
use stillboot_boot_support::command_line::command_line;
use stillboot_boot_support::floor;
use stillboot_linux::proof;
use stillboot_policy::channel::Follow;
use stillboot_policy::version::{Version, VersionRule};
use stillboot_policy::window::Windows;

use super::file_of;

/// Everything that is read from text: proofs, versions, rules, channels, windows.
pub fn text(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Some(proof) = BootProof::parse(text) {
        assert_eq!(proof.emit().as_str(), text);
    }
    if let Ok(version) = Version::parse(text) {
        assert_eq!(version.to_string(), text);
    }
    if let Ok(rule) = VersionRule::parse(text) {
        assert_eq!(VersionRule::parse(&rule.to_string()), Ok(rule));
    }
    if let Ok(follow) = Follow::parse(text) {
        assert_eq!(Follow::parse(&follow.to_string()), Ok(follow));
    }
    if let Ok(windows) = Windows::parse(text) {
        assert_eq!(Windows::parse(&windows.to_string()), Ok(windows.clone()));
        let _ = windows.state(data.len() as u64 * 86_413, &[7; 16]);
    }
}

/// A proof is taken from a command line or an EFI variable only as it stands there.
pub fn proof(data: &[u8]) {
    // As the kernel's own command line is read.
    let line = String::from_utf8_lossy(data);
    if let Ok(Some(value)) = proof::from_cmdline(&line) {
        assert!(!value.is_empty() && line.contains(value));
        assert_eq!(line.matches(PROOF_PARAMETER).count().min(1), 1, "out of nothing");
        // Alone it is read the same, unless it needs the quotes that it had.
        if !value.contains(|c: char| c == '"' || c.is_ascii_whitespace()) {
            let alone = format!("{PROOF_PARAMETER}={value}");
            assert_eq!(proof::from_cmdline(&alone).ok(), Some(Some(value)));
            // Given twice, it is not known which one the loader added.
            assert!(proof::from_cmdline(&format!("{alone} {alone}")).is_err());
        }
    }
    let file = file_of(data);
    if let Ok(found) = proof::from_efi_variable(file.path()) {
        let text = found.expect("the file is there");
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        let value = &data[4..];
        assert_eq!(text.as_bytes(), value.strip_suffix(&[0]).unwrap_or(value));
        assert_eq!(data[0] & 1, 0, "a variable that outlives its boot");
    }
}

/// What the UEFI loader reads besides disks and bundles: the variable with the floor, and the
/// verified command line, which a kernel must read as it was given.
pub fn loader(data: &[u8]) {
    if let Some(floor) = floor::parse(data) {
        assert_eq!(floor::emit(floor)[..], *data);
    }
    let proof = BootProof {
        slot: Slot::B,
        digest: [0xab; 32],
        attempt: 2,
        nonce: 7,
        keyset_version: 1,
        record_version: 1,
        manifest_schema: 1,
    };
    if let Ok(mut options) = command_line(data, Some(&proof)) {
        assert_eq!(options.pop(), Some(0));
        let line = String::from_utf8(options).expect("printable text");
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let text = String::from_utf8_lossy(data);
        assert!(line.starts_with(text.trim_end_matches(['\n', '\r', ' ', '\0'])));
        assert_eq!(
            proof::from_cmdline(&line).ok(),
            Some(Some(proof.emit().as_str())),
            "Linux does not find the proof in {line:?}"
        );
    }
}
