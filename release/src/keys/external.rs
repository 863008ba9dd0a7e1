//! Programs that sign with a key that never leaves its place, such as an HSM.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use stillboot::verify::verify_signature;

use super::{KeyError, Signer};

/// The argument that is replaced by the name of a file with the bytes to sign.
const PLACE: &str = "{}";

/// What a program may have wanted that was given none.
const PLACE_HINT: &str = "; a program that reads a file gets one where an argument is `{}`";

/// The program of a command, without its arguments: these may hold a PIN.
#[must_use]
pub fn program_of(command: &str) -> String {
    let words = shlex::split(command).unwrap_or_default();
    let first = words.into_iter().next();
    first.or_else(|| command.split_whitespace().next().map(str::to_owned)).unwrap_or_default()
}

/// A program that signs with a key that never leaves its place, such as an HSM: it gets the bytes
/// to sign on its standard input, or in a file where an argument is `{}`, and writes exactly 64
/// signature bytes to its standard output.
pub struct ExternalSigner {
    command: String,
    public: [u8; 32],
    /// The last message and its signature: the same bytes do not need another touch of the key.
    last: Mutex<Option<(Vec<u8>, [u8; 64])>>,
}

impl core::fmt::Debug for ExternalSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ExternalSigner").field(&program_of(&self.command)).finish()
    }
}

impl ExternalSigner {
    /// The program and its arguments, with a shell's rules of quotes but run without one, and the
    /// public key whose signatures it makes.
    #[must_use]
    pub const fn new(command: String, public: [u8; 32]) -> Self {
        Self { command, public, last: Mutex::new(None) }
    }

    fn failed(&self, what: impl core::fmt::Display) -> KeyError {
        KeyError::Signer(format!("`{}`: {what}", program_of(&self.command)))
    }

    /// A file of the message without a name, so that nothing is left of it when we are ended.
    fn message_file(&self, message: &[u8]) -> Result<File, KeyError> {
        let mut file = tempfile::tempfile().map_err(|error| self.failed(error))?;
        file.write_all(message).map_err(|error| self.failed(error))?;
        Ok(file)
    }

    fn run(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut words = shlex::split(&self.command)
            .ok_or_else(|| self.failed("expected every quote to be closed"))?
            .into_iter();
        let program = words.next().ok_or_else(|| self.failed("expected a program"))?;
        let mut words: Vec<_> = words.map(OsString::from).collect();
        // Some programs do not read a message from a pipe.
        let file = match words.iter().any(|word| word == PLACE) {
            true => Some(self.message_file(message)?),
            false => None,
        };
        for word in words.iter_mut().filter(|word| *word == PLACE) {
            if let Some(file) = &file {
                // The path goes through our process, because the descriptor is not inherited.
                *word = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
            }
        }
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(error))?;
        // The message is shorter than a pipe's buffer, so this does not wait for a program that
        // writes before it reads. A program that reads nothing is judged by its output.
        if let Some(mut stdin) = child.stdin.take()
            && file.is_none()
        {
            let _ = stdin.write_all(message);
        }
        let mut signature = Vec::new();
        let read = match child.stdout.take() {
            // Reads one byte more than expected, to see that there is more. The pipe is then
            // closed, so the program cannot write without end.
            Some(stdout) => stdout.take(65).read_to_end(&mut signature),
            None => Ok(0),
        };
        let status = child.wait().map_err(|error| self.failed(error))?;
        read.map_err(|error| self.failed(error))?;
        // The length is checked before the status: a program that writes too much fails because the
        // pipe was closed.
        if signature.len() > 64 {
            return Err(self.failed("expected 64 signature bytes, found more"));
        }
        if !status.success() {
            let hint = if file.is_none() { PLACE_HINT } else { "" };
            let what = format_args!("expected it to succeed, it ended with {status}{hint}");
            return Err(self.failed(what));
        }
        Ok(signature)
    }
}

impl Signer for ExternalSigner {
    fn public(&self) -> [u8; 32] {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((signed, signature)) = &*last
            && signed == message
        {
            return Ok(*signature);
        }
        let signature = self.run(message)?;
        let signature: [u8; 64] = signature.as_slice().try_into().map_err(|_| {
            self.failed(format_args!("expected 64 signature bytes, found {}", signature.len()))
        })?;
        // Devices refuse the whole envelope if a signature of a known key is wrong.
        verify_signature(&self.public, &[message], &signature).map_err(|_| {
            self.failed(
                "expected a signature by the given public key over these bytes, found another",
            )
        })?;
        *last = Some((message.to_vec(), signature));
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::keys::SigningKey;

    use super::*;

    #[test]
    fn external_signers_are_not_believed() {
        let key = SigningKey::from_seed([3; 32]);
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().join("good");
        fs::write(&good, key.sign(b"message").unwrap()).unwrap();
        let long = directory.path().join("long");
        fs::write(&long, [0; 65]).unwrap();
        let sign = |command: String| {
            ExternalSigner::new(command, key.public()).sign(b"message").map_err(|e| e.to_string())
        };
        let cat = |path: &Path| format!("cat {}", path.display());
        assert_eq!(sign(cat(&good)), Ok(key.sign(b"message").unwrap()));
        for (command, reason) in [
            (String::new(), "expected a program"),
            ("   ".into(), "expected a program"),
            ("/nonexistent/signer".into(), "No such file"),
            ("true".into(), "found 0"),
            ("false".into(), "expected it to succeed"),
            ("false".into(), "gets one where an argument is `{}`"),
            (cat(&long), "found more"),
            ("yes".into(), "found more"),
            ("head -c 64 /dev/zero".into(), "found another"),
            // The message itself, and nothing more.
            ("cat".into(), "found 7"),
        ] {
            let error = sign(command.clone()).unwrap_err();
            assert!(error.contains(reason), "{command}: {error}");
            // An argument may be the PIN.
            assert!(!error.contains("/dev/zero"), "{error}");
        }
        // Of another message.
        let error = ExternalSigner::new(cat(&good), key.public()).sign(b"other").unwrap_err();
        assert!(error.to_string().contains("found another"), "{error}");
    }
}
