//! What tests that build programs share: the project's chores, and a publisher's file of roots.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillboot::format::KeyKind;
use stillboot::verify::Trust;
use stillboot_release::keys::Roots;
use stillboot_sim::Publisher;
use tempfile::NamedTempFile;

/// The product of every [`Publisher`].
const PRODUCT: &str = "simulated product";

/// The top of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One of the project's own chores, to be run at the top of the checkout.
#[must_use]
pub fn xtask() -> Command {
    let mut command = match std::env::var_os("STILLBOOT_XTASK") {
        // Asking cargo would wait for whatever it builds meanwhile.
        Some(program) => Command::new(program),
        None => {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command.args(["--quiet", "xtask"]);
            command
        }
    };
    command.current_dir(root());
    command
}

/// Runs a command that has to succeed; gives what it printed.
///
/// # Panics
/// It did not succeed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}{errors}", output.status);
    text
}

/// The file of roots of a publisher, in this folder.
///
/// # Panics
/// The folder cannot be written.
#[must_use]
pub fn roots(folder: &Path, publisher: &Publisher) -> PathBuf {
    let Trust::Roots { keys, rule } = publisher.device().trust else {
        panic!("a publisher has roots");
    };
    let threshold = rule.threshold(KeyKind::Ed25519);
    let roots = Roots::new(PRODUCT, threshold, keys);
    let text = roots.to_toml().expect("roots can be written as TOML");
    let path = folder.join("roots.toml");
    // Only when it has to change: cargo compares times, and rebuilds what has them in it.
    if fs::read_to_string(&path).ok().as_deref() != Some(&*text) {
        // Other tests may do the same at this moment, in threads of this process as well: each
        // writes a file that no other has, and the renaming is atomic.
        let mut new = NamedTempFile::new_in(folder).expect("the folder can be written");
        new.write_all(text.as_bytes()).expect("the folder can be written");
        new.persist(&path).expect("the folder can be written");
    }
    path
}

/// A device tree under another name. `fdtput` writes it.
///
/// # Panics
/// It is no tree, or the temporary folder cannot be written.
#[must_use]
pub fn renamed(tree: &[u8], model: &str, compatible: &[&str]) -> Vec<u8> {
    let file = NamedTempFile::new().expect("the temporary folder can be written");
    fs::write(&file, tree).expect("the temporary folder can be written");
    for (name, values) in [("model", &[model][..]), ("compatible", compatible)] {
        succeed(Command::new("fdtput").arg("-ts").arg(file.path()).args(["/", name]).args(values));
    }
    fs::read(file).expect("it was just written")
}
