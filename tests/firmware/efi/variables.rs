//! The firmware's variables, as a machine finds them at its first start.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{Arch, copy_sparse};
use crate::release::works;

/// How long the firmware may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The file that variables are copied from. Firmware for Arm waits five seconds at every start for
/// a user who wants its menu, unless its variable says otherwise: here it does.
pub fn template(arch: Arch, is_secure: bool) -> PathBuf {
    let debians = arch.firmware(is_secure)[1].clone();
    if arch == Arch::X86_64 {
        return debians;
    }
    static MADE: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let made = MADE[usize::from(is_secure)].get_or_init(|| {
        let name = if is_secure { "secure-variables.fd" } else { "variables.fd" };
        let path = works().folder().join(name);
        // The firmware may be writing when it is stopped; what it wrote in part is no answer.
        let mut attempts = (0..3).map(|_| {
            copy_sparse(&debians, &path);
            if !is_secure {
                format(arch, &path);
            }
            let mut bytes = fs::read(&path).expect("it was just written");
            hurry(&mut bytes).then_some(bytes)
        });
        let bytes = attempts.find_map(|bytes| bytes);
        let bytes = bytes.expect("the firmware keeps its time of waiting in `Timeout`");
        fs::write(&path, bytes).expect("the target folder can be written");
        path
    });
    made.clone()
}

/// Changes the variables so that the firmware waits for no user, and searches again for what can be
/// booted. Returns whether there was anything to change.
///
/// Behind the headers of volume and store stand the variables, each a header of 60 bytes, its name in
/// UTF-16 and its value: edk2's authenticated variables.
fn hurry(bytes: &mut [u8]) -> bool {
    const FIRST: usize = 0x64;
    const HEADER: usize = 60;
    /// The bit of the state that a deleted variable has not.
    const NOT_DELETED: u8 = 2;
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize;
    let (mut at, mut found) = (FIRST, false);
    while bytes[at..].starts_with(&[0xaa, 0x55]) {
        let (name_len, len) = (number(&bytes[at + 36..at + 40]), number(&bytes[at + 40..at + 44]));
        let Some(name) = bytes[at + HEADER..].get(..name_len.saturating_add(len)) else {
            return false;
        };
        let name: Vec<_> = name[..name_len]
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        let name = String::from_utf16_lossy(&name);
        if name.starts_with("Timeout") {
            bytes[at + HEADER + name_len..][..len].fill(0);
            found = true;
        } else if name.starts_with("Boot") {
            bytes[at + 2] &= !NOT_DELETED;
        }
        at = (at + HEADER + name_len + len).next_multiple_of(4);
    }
    found
}

/// Lets the firmware make its variables: what Debian ships is empty.
fn format(arch: Arch, variables: &Path) {
    let mut qemu = arch.qemu();
    qemu.args(["-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio"]);
    qemu.args(["-monitor", "none", "-drive"]);
    let code = &arch.firmware(false)[0];
    qemu.arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()));
    qemu.arg("-drive");
    qemu.arg(format!("if=pflash,format=raw,unit=1,file={}", variables.display()));
    let mut qemu = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU is there; `cargo xtask setup` brings it");
    let mut output = qemu.stdout.take().expect("it is piped");
    let (said, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = output.read(&mut buffer) {
            // The receiver is gone once the machine has said what it was waited for.
            let _ = said.send(String::from_utf8_lossy(&buffer[..len]).into_owned());
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut seen = String::new();
    // There is nothing to boot, and it says so.
    while !seen.contains("BdsDxe: ") {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(text) => seen.push_str(&text),
            Err(error) => {
                let _ = qemu.kill();
                panic!("expected the firmware to look for something to boot: {error}: {seen}");
            }
        }
    }
    qemu.kill().expect("it runs");
    qemu.wait().expect("it was started");
}
