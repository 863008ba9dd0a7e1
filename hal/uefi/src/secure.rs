//! Starts a kernel that Secure Boot would refuse: exactly the bytes that the manifest vouches for,
//! and nothing else. Off unless a loader is built with the feature `unsigned-kernels`.
//!
//! With Secure Boot on, `LoadImage` asks the firmware's security protocol about every image. For as
//! long as one image is loaded, that question comes here first, goes on to the firmware, which
//! judges as ever, and only its refusal of that very buffer is set aside. So the trust in the loader,
//! which the firmware has checked, extends to what the loader has checked.
//!
//! Firmware may end with a refusal and measure only what it accepts (edk2 does), so such an image
//! may be missing in register 4 of a TPM. The feature `tpm` measures it as part of its manifest.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use uefi::boot::{self, ScopedProtocol};
use uefi::proto::unsafe_protocol;
use uefi::runtime::{self, VariableVendor};
use uefi::{Status, cstr16};

use crate::disks::open;

/// The question whether an image may be loaded: this protocol, the image's path, its bytes, their
/// number, and whether the firmware chose it itself.
type Authenticate =
    unsafe extern "efiapi" fn(*const Security2, *const c_void, *const u8, usize, u8) -> Status;

/// `EFI_SECURITY2_ARCH_PROTOCOL`, of the platform initialization specification.
#[derive(Debug)]
#[repr(C)]
#[unsafe_protocol("94ab2f58-1438-4ef1-9152-18941a3a0e68")]
struct Security2 {
    authenticate: Authenticate,
}

/// The firmware's own answer. Null unless an [`Allowance`] stands.
static FIRMWARE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// The buffer that is allowed.
static START: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);
/// Whether it was needed.
static WAS_NEEDED: AtomicBool = AtomicBool::new(false);

/// While it stands, one buffer may be loaded. Dropping it puts back what was.
#[derive(Debug)]
pub struct Allowance {
    protocol: ScopedProtocol<Security2>,
    firmware: Authenticate,
}

impl Allowance {
    /// Allows exactly `bytes`. `None` where Secure Boot is off, so that nothing needs it, and where
    /// the firmware has no such protocol, so that its own judgement stands.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        WAS_NEEDED.store(false, Ordering::Relaxed);
        if !is_on() {
            return None;
        }
        let handle = boot::get_handle_for_protocol::<Security2>().ok()?;
        let mut protocol = open::<Security2>(handle).ok()?;
        START.store(bytes.as_ptr().addr(), Ordering::Relaxed);
        LEN.store(bytes.len(), Ordering::Relaxed);
        let firmware = protocol.authenticate;
        FIRMWARE.store(firmware as *mut c_void, Ordering::Relaxed);
        protocol.authenticate = authenticate;
        Some(Self { protocol, firmware })
    }

    /// Whether the firmware would have refused the buffer.
    #[must_use]
    pub fn was_needed(&self) -> bool {
        WAS_NEEDED.load(Ordering::Relaxed)
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.protocol.authenticate = self.firmware;
        LEN.store(0, Ordering::Relaxed);
        START.store(0, Ordering::Relaxed);
    }
}

/// Whether the firmware refuses images that are not signed by a key it trusts.
#[must_use]
pub fn is_on() -> bool {
    let mut value = [0; 1];
    let name = cstr16!("SecureBoot");
    runtime::get_variable(name, &VariableVendor::GLOBAL_VARIABLE, &mut value)
        .is_ok_and(|(value, _)| *value == [1])
}

/// What the firmware calls instead of its own.
unsafe extern "efiapi" fn authenticate(
    this: *const Security2,
    path: *const c_void,
    image: *const u8,
    len: usize,
    policy: u8,
) -> Status {
    let firmware = FIRMWARE.load(Ordering::Relaxed);
    if firmware.is_null() {
        return Status::SECURITY_VIOLATION;
    }
    // SAFETY: What is stored there was a function of this type.
    let firmware = unsafe { core::mem::transmute::<*mut c_void, Authenticate>(firmware) };
    // SAFETY: The firmware's own call, passed on as it came.
    let said = unsafe { firmware(this, path, image, len, policy) };
    let is_ours = len != 0
        && image.addr() == START.load(Ordering::Relaxed)
        && len == LEN.load(Ordering::Relaxed);
    match said {
        Status::ACCESS_DENIED | Status::SECURITY_VIOLATION if is_ours => {
            WAS_NEEDED.store(true, Ordering::Relaxed);
            Status::SUCCESS
        }
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the firmware of these tests says.
    static SAYS: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "efiapi" fn firmware(
        _: *const Security2,
        _: *const c_void,
        _: *const u8,
        _: usize,
        _: u8,
    ) -> Status {
        Status(SAYS.load(Ordering::Relaxed))
    }

    fn ask(said: Status, image: &[u8]) -> Status {
        SAYS.store(said.0, Ordering::Relaxed);
        // SAFETY: Nothing of what is passed on is looked at.
        unsafe {
            authenticate(core::ptr::null(), core::ptr::null(), image.as_ptr(), image.len(), 0)
        }
    }

    /// One test, because all of it uses the same statics.
    #[test]
    fn only_a_refusal_of_exactly_the_allowed_bytes_is_set_aside() {
        let bytes = [7; 64];
        let ours = &bytes[8..40];
        let refused = [Status::ACCESS_DENIED, Status::SECURITY_VIOLATION];
        // Nothing stands there yet, and nothing of the firmware's.
        assert_eq!(ask(Status::SUCCESS, ours), Status::SECURITY_VIOLATION);
        let own: Authenticate = firmware;
        FIRMWARE.store(own as *mut c_void, Ordering::Relaxed);
        for said in refused {
            assert_eq!(ask(said, ours), said);
        }
        START.store(ours.as_ptr().addr(), Ordering::Relaxed);
        LEN.store(ours.len(), Ordering::Relaxed);
        for said in refused {
            // Equal bytes at another place were not verified, nor was any other part of these.
            let copy = bytes;
            for other in [&bytes[9..41], &bytes[8..39], &bytes[8..41], &bytes[8..8], &copy[8..40]] {
                assert_eq!(ask(said, other), said);
                assert!(!WAS_NEEDED.load(Ordering::Relaxed));
            }
            assert_eq!(ask(said, ours), Status::SUCCESS);
            assert!(WAS_NEEDED.swap(false, Ordering::Relaxed));
        }
        // Any other answer stands.
        for said in [Status::SUCCESS, Status::OUT_OF_RESOURCES, Status::UNSUPPORTED] {
            assert_eq!(ask(said, ours), said);
            assert!(!WAS_NEEDED.load(Ordering::Relaxed));
        }
        START.store(0, Ordering::Relaxed);
        LEN.store(0, Ordering::Relaxed);
        for said in refused {
            assert_eq!(ask(said, ours), said);
            assert_eq!(ask(said, &[]), said);
        }
    }
}
