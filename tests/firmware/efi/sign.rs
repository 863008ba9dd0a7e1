//! Signatures for Secure Boot, by the key that comes with the firmware's package for such tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use stillboot_tests::chores::succeed;
use tempfile::NamedTempFile;

use crate::release::works;

/// The certificate that the firmware's templates of variables have. In them, nothing else is trusted.
const CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";
const KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil.key";

/// The key, as `sbsign` takes it.
fn key() -> &'static PathBuf {
    static OPEN: OnceLock<PathBuf> = OnceLock::new();
    OPEN.get_or_init(|| {
        // The stories of the other architecture make it at the same time: it appears as a whole.
        let key = NamedTempFile::new_in(works().folder()).expect("the folder can be written");
        let mut openssl = Command::new("openssl");
        openssl.args(["rsa", "-in", KEY, "-passin", "pass:snakeoil", "-out"]).arg(key.path());
        succeed(&mut openssl);
        let path = works().folder().join("snakeoil.key");
        key.persist(&path).expect("the folder can be written");
        path
    })
}

/// The image with our signature as its only one.
pub fn sign(image: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
    fs::write(&from, strip(image)).expect("the temporary folder can be written");
    let mut sbsign = Command::new("sbsign");
    sbsign.arg("--key").arg(key()).args(["--cert", CERTIFICATE, "--output"]).arg(&to).arg(&from);
    succeed(&mut sbsign);
    fs::read(to).expect("sbsign has written it")
}

/// The image without signatures.
pub fn strip(image: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let path = folder.path().join("image");
    fs::write(&path, image).expect("the temporary folder can be written");
    // It fails where there is none left.
    while Command::new("sbattach")
        .arg("--remove")
        .arg(&path)
        .output()
        .expect("sbattach is there; `cargo xtask setup` brings it")
        .status
        .success()
    {}
    fs::read(path).expect("it was just written")
}
