//! The components: files and texts that are packed.

use std::io::{BufReader, Cursor, ErrorKind, Read as _};

use stillboot::format::{Architecture, Load, Role};
use stillboot_boot_support::command_line;
use stillboot_linux::open;
use stillboot_release::bundle::Input;

use super::settings::Component;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;

/// The load class of a component where none is asked for.
pub const fn default_load(role: Role) -> Load {
    match role {
        Role::Kernel | Role::Initramfs | Role::Cmdline | Role::Dtbs | Role::Uki | Role::Image => {
            Load::Ram
        }
        Role::Rootfs | Role::Verity | Role::Data | Role::Loader | Role::Unknown(_) => Load::Late,
    }
}

/// A component that is about to be packed.
pub struct Opened {
    /// What its bytes are read from.
    pub input: Box<dyn Input>,
    /// How many bytes it has.
    pub len: u64,
    /// Its bytes, where they decide whether a loader starts it.
    pub bytes: Option<Vec<u8>>,
}

/// Opens a component.
pub fn open(component: &Component) -> Result<Opened, Failure> {
    let role = component.role;
    let bytes = match (&component.file, &component.text) {
        (Some(path), None) if role != Role::Cmdline => {
            let failed = |error| Failure::system("read", path, &error);
            let file = open::file(path).map_err(|error| match error.kind() {
                ErrorKind::InvalidInput => {
                    Failure::usage(format_args!("{}: {error} to pack as {role}", path.display()))
                }
                _ => failed(error),
            })?;
            let len = file.metadata().map_err(failed)?.len();
            if len == 0 {
                return Err(Failure::usage(format_args!(
                    "{} is empty: expected the bytes of the {role}",
                    path.display()
                )));
            }
            if role != Role::Dtbs {
                let input = Box::new(BufReader::with_capacity(1 << 20, file));
                return Ok(Opened { input, len, bytes: None });
            }
            let mut bytes = Vec::new();
            BufReader::new(file).read_to_end(&mut bytes).map_err(failed)?;
            bytes
        }
        // Editors end the last line with a line end, which does not belong to the command line.
        (Some(path), None) => command_line::trimmed(&files::read(path)?).to_vec(),
        (None, Some(text)) if role == Role::Cmdline => {
            command_line::trimmed(text.as_bytes()).to_vec()
        }
        _ => {
            return Err(Failure::usage(format_args!(
                "component {role}: expected a file (text is for the cmdline only)"
            )));
        }
    };
    if bytes.is_empty() {
        return Err(Failure::usage("the command line is empty: leave it out"));
    }
    let len = bytes.len() as u64;
    Ok(Opened { input: Box::new(Cursor::new(bytes.clone())), len, bytes: Some(bytes) })
}

/// Warns of a kernel that neither firmware nor a loader would take for one.
pub fn warn_kernel(
    component: &Component,
    architecture: Architecture,
    out: &Output,
) -> Result<(), Failure> {
    let expected = match architecture {
        Architecture::X86_64 => "an image for UEFI",
        Architecture::Aarch64 => "an image for UEFI or an arm64 Image",
        _ => return Ok(()),
    };
    let Some(path) = component.file.as_ref().filter(|_| component.role == Role::Kernel) else {
        return Ok(());
    };
    let failed = |error| Failure::system("read", path, &error);
    let mut head = Vec::new();
    open::file(path).map_err(failed)?.take(64).read_to_end(&mut head).map_err(failed)?;
    let is_arm64 = architecture == Architecture::Aarch64 && head.get(56..60) == Some(b"ARM\x64");
    if !head.starts_with(b"MZ") && !is_arm64 {
        out.warn(format_args!(
            "{}: expected {expected}, as loaders of {} start it, found something else",
            path.display(),
            architecture.name()
        ));
    }
    Ok(())
}
