//! The keys that commands sign with: files, and programs that have a key.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use clap::Args;
use stillboot::format::{Key, KeyKind, KeyRole, Keyset};
use stillboot_release::keys::{
    ExternalSigner, KeyError, Signer, SigningKey, program_of, read_public,
};

use crate::failure::{Exit, Failure};
use crate::{files, view};

/// Keys that never leave their place, such as an HSM.
#[derive(Args, Clone, Debug, Default)]
pub struct SignerArgs {
    /// A program that signs, with its arguments: quoted as for a shell, but run without one. It
    /// gets the bytes to sign on standard input, or in a file where an argument is `{}`, and writes
    /// the 64 bytes of the signature to standard output. Needs --public; several may be given
    #[arg(long, value_name = "COMMAND", requires = "public", help_heading = "Signing")]
    pub signer: Vec<String>,
    /// The public key that --signer signs with
    #[arg(long, value_name = "FILE", requires = "signer", help_heading = "Signing")]
    pub public: Vec<PathBuf>,
    /// The file with the passphrase of encrypted secret keys; without it the tool asks on the
    /// terminal
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    pub passphrase_file: Option<PathBuf>,
}

/// A signer, and what people call it.
pub struct Named {
    /// The key's file, or the program.
    pub name: String,
    /// What signs.
    pub signer: Box<dyn Signer>,
}

impl SignerArgs {
    /// Every file that these options name.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.public.iter().chain(&self.passphrase_file).map(PathBuf::as_path)
    }

    /// The passphrase of the key at `path`; why its file cannot be read goes to `unread`.
    fn passphrase(
        &self,
        path: &Path,
        unread: &Cell<Option<Failure>>,
    ) -> Result<String, &'static str> {
        match &self.passphrase_file {
            Some(file) => {
                let text = files::read_text(file).map_err(|failure| {
                    unread.set(Some(failure));
                    "the file of its passphrase cannot be read"
                })?;
                // Editors end the last line with a line end.
                Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
            }
            None => rpassword::prompt_password(format!("passphrase of {}: ", path.display()))
                .map_err(|_| {
                    "the key is encrypted, and there is no terminal to ask for the passphrase: \
                     expected --passphrase-file FILE"
                }),
        }
    }

    /// The keys in `files`, named by the option `option`, and those of programs; at least one.
    pub fn signers(&self, files: &[PathBuf], option: &str) -> Result<Vec<Named>, Failure> {
        if self.signer.len() != self.public.len() {
            return Err(Failure::usage(format_args!(
                "expected one --public for each --signer, found {} and {}",
                self.public.len(),
                self.signer.len()
            )));
        }
        let mut signers = Vec::new();
        for path in files {
            let unread = Cell::new(None);
            let key = SigningKey::read_with(path, &|| self.passphrase(path, &unread));
            let signer = Box::new(key.map_err(|error| {
                let is_passphrase = matches!(error, KeyError::Passphrase { .. });
                let failure = unread.take().unwrap_or_else(|| error.into());
                match &self.passphrase_file {
                    Some(file) if is_passphrase => failure.also(format_args!(
                        "the passphrase of {} is read from {}",
                        path.display(),
                        file.display()
                    )),
                    _ => failure,
                }
            })?);
            signers.push(Named { name: path.display().to_string(), signer });
        }
        for (command, path) in self.signer.iter().zip(&self.public) {
            let signer = Box::new(ExternalSigner::new(command.clone(), read_public(path)?));
            signers.push(Named { name: format!("`{}`", program_of(command)), signer });
        }
        if signers.is_empty() {
            return Err(Failure::usage(format_args!(
                "no key to sign with: expected {option} FILE, or --signer COMMAND with --public FILE"
            )));
        }
        Ok(signers)
    }
}

/// The entry of an Ed25519 key in `keyset`.
pub fn key_in<'a>(keyset: &'a Keyset, public: &[u8; 32]) -> Option<&'a Key> {
    keyset.keys.iter().find(|key| key.kind == KeyKind::Ed25519 && key.name == *public)
}

/// Checks that `keyset` gives `role` to the key: a signature that no device would count is an error
/// here, where it can still be put right.
pub fn has_role(keyset: &Keyset, role: KeyRole, named: &Named) -> Result<(), Failure> {
    let public = named.signer.public();
    let key = key_in(keyset, &public);
    if key.is_some_and(|key| key.roles & role.bit() != 0) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failed,
        "key",
        format_args!(
            "{}: key {} has not the role {role} in the keyset: no device would count its \
             signature; see `stillboot keyset show`",
            named.name,
            view::key(&public),
        ),
    ))
}
