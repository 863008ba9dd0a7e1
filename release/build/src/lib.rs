//! For build scripts of boot loaders and updaters: whom the device trusts and which it is, as
//! constants, and what the linker needs. A crate to name under `[build-dependencies]`.
//!
//! No file beside a loader holds these values: an attacker with write access to the disk could forge
//! it.
//!
//! # Example
//!
//! `build.rs`:
//!
//! ```no_run
//! fn main() -> Result<(), stillboot_build::BuildError> {
//!     stillboot_build::Identity::read("keys/roots.toml", "gateway model 1")?
//!         .with_revision(1)
//!         .write()?;
//!     stillboot_build::link_small();
//!     stillboot_build::link_script("memory.x")
//! }
//! ```
//!
//! `main.rs`, where `identity::DEVICE` is a `stillboot::verify::Device` then:
//!
//! ```ignore
//! mod identity {
//!     include!(concat!(env!("OUT_DIR"), "/identity.rs"));
//! }
//!
//! let device = identity::DEVICE.with_architecture(Architecture::Thumbv7em);
//! ```

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use stillboot::format::Id;
use stillboot::verify::{SoftSha256, TEST_KEY_IDS, key_id};
use stillboot_release::keys::{KeyError, Roots, id_of};

/// Why a build script fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The file of roots cannot be read.
    #[error(transparent)]
    Roots(#[from] KeyError),
    /// A device with one key was asked for, and there are more roots.
    #[error(
        "expected one root key, because the device trusts one key, found {found}; leave \
         `with_single_key` out, or use other roots"
    )]
    ManyKeys {
        /// How many there are.
        found: usize,
    },
    /// A variable that cargo sets for build scripts is not there.
    #[error("expected {name}, which cargo sets for build scripts; run this in one")]
    NoVariable {
        /// Its name.
        name: &'static str,
    },
    /// A file cannot be written or found.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Whom a device trusts, and which it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The file that the roots were read from.
    path: Option<PathBuf>,
    roots: Roots,
    class: Id,
    revision: u16,
    is_single: bool,
}

impl Identity {
    /// Of a file of roots, as `stillboot keygen` writes it, and a device class: a name, or its UUID.
    /// The product stands in the file of roots.
    ///
    /// # Errors
    /// [`BuildError::Roots`].
    pub fn read(roots: impl Into<PathBuf>, class: &str) -> Result<Self, BuildError> {
        let path = roots.into();
        let identity = Self::new(Roots::read(&path)?, class);
        Ok(Self { path: Some(path), ..identity })
    }

    /// Of roots in memory, and a device class: a name, or its UUID.
    #[must_use]
    pub fn new(roots: Roots, class: &str) -> Self {
        Self { path: None, roots, class: id_of(class), revision: 0, is_single: false }
    }

    /// The same for a hardware revision other than 0.
    #[must_use]
    pub const fn with_revision(mut self, revision: u16) -> Self {
        self.revision = revision;
        self
    }

    /// The same with the root as the one key that signs everything, for builds of the core without
    /// its feature `keysets`.
    ///
    /// # Errors
    /// [`BuildError::ManyKeys`].
    pub fn with_single_key(mut self) -> Result<Self, BuildError> {
        self.is_single = true;
        match self.roots.keys.len() {
            1 => Ok(self),
            found => Err(BuildError::ManyKeys { found }),
        }
    }

    /// The constants as Rust code:
    ///
    /// - `DEVICE`: the device as the core takes it;
    /// - `TEST_ROOTS`: whether keys of stillboot's own tests are among those trusted. Those keys are
    ///   public, and the core refuses them in builds without debug assertions.
    #[must_use]
    pub fn code(&self) -> String {
        let keys: Vec<_> = self.roots.keys.iter().map(|key| key.name).collect();
        let is_test = |key: &[u8; 32]| TEST_KEY_IDS.contains(&key_id::<SoftSha256>(key));
        let trust = if self.is_single {
            format!("::stillboot::verify::Trust::Key(&{:?})", keys[0])
        } else {
            format!(
                "::stillboot::verify::Trust::Roots {{\n            \
                     keys: &::stillboot::verify::RootKey::ed25519_all({keys:?}),\n            \
                     rule: ::stillboot::format::Rule::ed25519({}),\n        \
                 }}",
                self.roots.threshold
            )
        };
        format!(
            "/// Whom this device trusts, and which it is.\n\
             pub const DEVICE: ::stillboot::verify::Device<'static> =\n    \
                 ::stillboot::verify::Device::new(\n        \
                     {trust},\n        \
                     {:?},\n        \
                     {:?},\n    \
                 )\n    \
                 .with_revision({});\n\
             /// Whether the keys of stillboot's own tests are trusted: then everybody can sign.\n\
             pub const TEST_ROOTS: bool = {};\n",
            self.roots.product_id(),
            self.class,
            self.revision,
            keys.iter().any(is_test),
        )
    }

    /// Writes [`code`](Self::code) to `identity.rs` in the folder that cargo gives a build script,
    /// and has it written again when the file of roots changes.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn write(&self) -> Result<(), BuildError> {
        if let Some(path) = &self.path {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        let path = Path::new(&variable("OUT_DIR")?).join("identity.rs");
        fs::write(&path, self.code()).map_err(|source| BuildError::File {
            action: "write",
            path,
            source,
        })
    }
}

/// Lets the linker of targets without an operating system join functions of the same code. The
/// other flags that save flash are settings of a profile or of the whole build; README has them.
pub fn link_small() {
    // The linker of hosts may be another one, which does not know it.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo::rustc-link-arg-bins=--icf=all");
    }
}

/// Lets the linker find a script that another one includes, such as the `memory.x` of `cortex-m-rt`.
/// `script` is beside the `Cargo.toml` of the package, or below it.
///
/// # Errors
/// [`BuildError`]: it is not there.
pub fn link_script(script: &str) -> Result<(), BuildError> {
    let path = Path::new(&variable("CARGO_MANIFEST_DIR")?).join(script);
    let action = "find the linker script";
    if let Err(source) = fs::metadata(&path) {
        return Err(BuildError::File { action, path, source });
    }
    println!("cargo::rerun-if-changed={}", path.display());
    if let Some(folder) = path.parent() {
        println!("cargo::rustc-link-search={}", folder.display());
    }
    Ok(())
}

fn variable(name: &'static str) -> Result<std::ffi::OsString, BuildError> {
    env::var_os(name).ok_or(BuildError::NoVariable { name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stillboot::verify::RootKey;
    use stillboot_release::keys::{Signer as _, SigningKey};

    fn roots(count: u8) -> tempfile::NamedTempFile {
        let keys: Vec<_> = (1..=count).map(|salt| RootKey::ed25519(public(salt))).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = Roots::new("gateway", 1, keys).to_toml().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn public(salt: u8) -> [u8; 32] {
        SigningKey::from_seed([salt; 32]).public()
    }

    #[test]
    fn the_constants_are_those_of_the_file() {
        let file = roots(2);
        let identity = Identity::read(file.path(), "model 1").unwrap().with_revision(7);
        let code = identity.code();
        for part in [
            format!("{:?}", [public(1), public(2)]),
            format!("{:?}", id_of("gateway")),
            format!("{:?}", id_of("model 1")),
            "Rule::ed25519(1)".into(),
            ".with_revision(7);".into(),
            "TEST_ROOTS: bool = false".into(),
        ] {
            assert!(code.contains(&part), "no `{part}` in\n{code}");
        }
        assert!(!code.contains("Trust::Key"));
    }

    #[test]
    fn one_key_is_one_key() {
        let code = Identity::read(roots(1).path(), "m").unwrap().with_single_key().unwrap().code();
        assert!(code.contains(&format!("Trust::Key(&{:?})", public(1))), "{code}");
        assert!(!code.contains("Roots"));
        let error = Identity::read(roots(3).path(), "m").unwrap().with_single_key().unwrap_err();
        assert!(matches!(error, BuildError::ManyKeys { found: 3 }));
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let error = Identity::read("no/such/roots.toml", "m").unwrap_err();
        assert!(error.to_string().contains("no/such/roots.toml"), "{error}");
        let error = link_script("no/such.x").unwrap_err();
        assert!(error.to_string().contains("no/such.x"), "{error}");
        link_script("Cargo.toml").unwrap();
    }
}
