//! Offers the verified initial file system to the kernel, which asks for it by a well-known device
//! path (Linux 5.8 and later).

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr;

use uefi::boot;
use uefi::proto::device_path::{DevicePath, FfiDevicePath};
use uefi::proto::media::load_file::LoadFile2;
use uefi::{Guid, Handle, Status, guid};
use uefi_raw::Boolean;
use uefi_raw::protocol::device_path::DevicePathProtocol;
use uefi_raw::protocol::media::LoadFile2Protocol;

/// The vendor of the device path by which kernels ask for their initial file system.
pub const MEDIA_GUID: Guid = guid!("5568e427-68fc-4f3d-ac74-ca555231cc68");

/// A vendor media node with [`MEDIA_GUID`], and the end.
const PATH: Path = Path(
    *b"\x04\x03\x14\x00\
    \x27\xe4\x68\x55\xfc\x68\x3d\x4f\xac\x74\xca\x55\x52\x31\xcc\x68\
    \x7f\xff\x04\x00",
);

/// Aligned as firmware may expect of what it is given.
#[repr(C, align(8))]
struct Path([u8; 24]);

static STATIC_PATH: Path = PATH;

/// Why the initial file system cannot be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitrdError {
    /// Another program offers one already, and the kernel might take that: it was not verified.
    Foreign,
    /// The firmware refused.
    Firmware(Status),
}

impl core::fmt::Display for InitrdError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Foreign => f.write_str("an initrd that was not verified is offered already"),
            Self::Firmware(status) => write!(f, "the initrd cannot be offered: {status}"),
        }
    }
}

impl core::error::Error for InitrdError {}

/// What the kernel calls: the protocol, with our bytes behind it.
#[repr(C)]
struct Provider {
    protocol: LoadFile2Protocol,
    bytes: *const u8,
    len: usize,
}

/// The offer; it ends when this is dropped.
#[derive(Debug)]
pub struct Initrd<'a> {
    handle: Handle,
    provider: *mut Provider,
    /// The bytes are lent to the firmware for as long.
    _bytes: core::marker::PhantomData<&'a [u8]>,
}

/// Whether an initial file system is on offer that is not ours. A kernel without one of its own
/// would take it.
#[must_use]
pub fn is_foreign_on_offer() -> bool {
    // SAFETY: The static is a whole device path: two nodes, the second of which ends it.
    let mut path: &DevicePath =
        unsafe { DevicePath::from_ffi_ptr(STATIC_PATH.0.as_ptr().cast::<FfiDevicePath>()) };
    boot::locate_device_path::<LoadFile2>(&mut path).is_ok()
}

impl<'a> Initrd<'a> {
    /// Offers `bytes`.
    ///
    /// # Errors
    /// [`InitrdError`].
    pub fn offer(bytes: &'a [u8]) -> Result<Self, InitrdError> {
        if is_foreign_on_offer() {
            return Err(InitrdError::Foreign);
        }
        let refused = |error: uefi::Error| InitrdError::Firmware(error.status());
        // SAFETY: The static is a device path and lives as long as the loader, which outlives the
        // handle: `drop` removes it.
        let handle = unsafe {
            boot::install_protocol_interface(
                None,
                &DevicePathProtocol::GUID,
                STATIC_PATH.0.as_ptr().cast(),
            )
        }
        .map_err(refused)?;
        let provider = Box::into_raw(Box::new(Provider {
            protocol: LoadFile2Protocol { load_file },
            bytes: bytes.as_ptr(),
            len: bytes.len(),
        }));
        let offer = Self { handle, provider, _bytes: core::marker::PhantomData };
        // SAFETY: The provider begins with the protocol, and stays where it is until `drop` has
        // removed the interface. If this fails, `drop` removes the rest.
        unsafe {
            boot::install_protocol_interface(
                Some(handle),
                &LoadFile2Protocol::GUID,
                provider.cast(),
            )
        }
        .map_err(refused)?;
        Ok(offer)
    }
}

impl Drop for Initrd<'_> {
    fn drop(&mut self) {
        // SAFETY: Both were installed with these very pointers, and every caller that found them
        // has returned. "Not installed yet" is not an error that matters.
        let (file, path) = unsafe {
            (
                boot::uninstall_protocol_interface(
                    self.handle,
                    &LoadFile2Protocol::GUID,
                    self.provider.cast(),
                ),
                boot::uninstall_protocol_interface(
                    self.handle,
                    &DevicePathProtocol::GUID,
                    STATIC_PATH.0.as_ptr().cast(),
                ),
            )
        };
        let _ = path;
        let still_installed = file.is_err_and(|error| error.status() == Status::ACCESS_DENIED);
        if !still_installed {
            // SAFETY: It came from `Box::into_raw`, and the firmware knows it no more.
            drop(unsafe { Box::from_raw(self.provider) });
        }
    }
}

/// `EFI_LOAD_FILE2_PROTOCOL.LoadFile`: the kernel asks for the length first, then for the bytes.
unsafe extern "efiapi" fn load_file(
    this: *mut LoadFile2Protocol,
    path: *const DevicePathProtocol,
    boot_policy: Boolean,
    len: *mut usize,
    buffer: *mut c_void,
) -> Status {
    if this.is_null() || path.is_null() || len.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // This protocol does not do boot selection.
    if bool::from(boot_policy) {
        return Status::UNSUPPORTED;
    }
    // SAFETY: Only `offer` hands this function out, as the first field of a `Provider`, which is
    // alive as long as the interface can be found. The bytes are borrowed for as long.
    let (bytes, needed) = unsafe {
        let provider = &*this.cast::<Provider>();
        (provider.bytes, provider.len)
    };
    // SAFETY: The caller's pointer to its own length, not null.
    let room = unsafe { len.replace(needed) };
    if buffer.is_null() || room < needed {
        return Status::BUFFER_TOO_SMALL;
    }
    // SAFETY: The caller says that there is room, and it is memory of its own.
    unsafe { ptr::copy_nonoverlapping(bytes, buffer.cast(), needed) };
    Status::SUCCESS
}

#[cfg(test)]
mod tests {
    use std::vec;

    use uefi::proto::device_path::build::{self, DevicePathBuilder};

    use super::*;

    #[test]
    fn path_is_the_one_that_kernels_ask_for() {
        let mut bytes = vec![];
        let node = build::media::Vendor { vendor_guid: MEDIA_GUID, vendor_defined_data: &[] };
        DevicePathBuilder::with_vec(&mut bytes).push(&node).unwrap().finalize().unwrap();
        assert_eq!(bytes, PATH.0);
    }

    #[test]
    fn kernel_learns_the_length_then_gets_the_bytes() {
        let content = [1, 2, 3];
        let mut provider = Provider {
            protocol: LoadFile2Protocol { load_file },
            bytes: content.as_ptr(),
            len: content.len(),
        };
        let mut call = |policy: bool, len: &mut usize, buffer: *mut u8| {
            // SAFETY: All pointers are to variables of this test, and `len` is right for `buffer`.
            unsafe {
                load_file(
                    ptr::from_mut(&mut provider).cast(),
                    STATIC_PATH.0.as_ptr().cast(),
                    policy.into(),
                    len,
                    buffer.cast(),
                )
            }
        };
        let (mut len, mut room) = (0, [0; 4]);
        assert_eq!(call(false, &mut len, ptr::null_mut()), Status::BUFFER_TOO_SMALL);
        assert_eq!(len, 3);
        len = 2;
        assert_eq!(call(false, &mut len, room.as_mut_ptr()), Status::BUFFER_TOO_SMALL);
        assert_eq!((len, room), (3, [0; 4]));
        len = 4;
        assert_eq!(call(false, &mut len, room.as_mut_ptr()), Status::SUCCESS);
        assert_eq!((len, room), (3, [1, 2, 3, 0]));
        assert_eq!(call(true, &mut len, room.as_mut_ptr()), Status::UNSUPPORTED);
    }
}
