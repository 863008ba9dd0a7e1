//! Loads an image from memory and starts it, by the firmware's own loader: signatures that the
//! firmware asks for are checked where they always are.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use uefi::boot::{self, LoadImageSource, MemoryType};
use uefi::proto::device_path::build::{self, DevicePathBuilder};
use uefi::proto::loaded_image::LoadedImage;
use uefi::{Handle, Status};

use crate::disks::open;

/// The image that runs, as the firmware put it into memory.
#[must_use]
pub fn own() -> Option<&'static [u8]> {
    let loaded = open::<LoadedImage>(boot::image_handle()).ok()?;
    let (start, len) = loaded.info();
    let len = usize::try_from(len).ok().filter(|_| !start.is_null())?;
    // SAFETY: The firmware says that so many bytes of this image are there, and they stay while it
    // runs. Sections that are written to, such as its static variables, are not read through this
    // slice.
    Some(unsafe { core::slice::from_raw_parts(start.cast(), len) })
}

/// An image that was loaded and not started.
#[derive(Debug)]
pub struct Image {
    handle: Handle,
    /// Lent to the firmware until the image is gone.
    options: Vec<u16>,
    is_allowed: bool,
}

impl Image {
    /// Loads the image that `bytes` are, exactly: a byte more or less would break its signature.
    /// The firmware makes a copy, which is checked and relocated.
    ///
    /// # Errors
    /// What the firmware says: [`Status::ACCESS_DENIED`] or [`Status::SECURITY_VIOLATION`] if it
    /// does not trust the image.
    pub fn load(bytes: &[u8]) -> Result<Self, Status> {
        let start = bytes.as_ptr().addr() as u64;
        let node = build::hardware::MemoryMapped {
            memory_type: MemoryType::LOADER_DATA,
            start_address: start,
            end_address: start + bytes.len() as u64,
        };
        let mut path = [MaybeUninit::uninit(); 64];
        let path = DevicePathBuilder::with_buf(&mut path)
            .push(&node)
            .and_then(DevicePathBuilder::finalize)
            .map_err(|_| Status::OUT_OF_RESOURCES)?;
        let source = LoadImageSource::FromBuffer { buffer: bytes, file_path: Some(path) };
        #[cfg(feature = "unsigned-kernels")]
        let allowance = crate::secure::Allowance::of(bytes);
        let handle =
            boot::load_image(boot::image_handle(), source).map_err(|error| error.status())?;
        #[cfg(feature = "unsigned-kernels")]
        let is_allowed = allowance.is_some_and(|allowance| allowance.was_needed());
        #[cfg(not(feature = "unsigned-kernels"))]
        let is_allowed = false;
        Ok(Self { handle, options: Vec::new(), is_allowed })
    }

    /// Whether it was loaded for the manifest's sake alone, against the firmware's own judgement.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.is_allowed
    }

    /// Gives the image its load options, UTF-16 with a final zero. Without them it has none.
    ///
    /// # Errors
    /// What the firmware says.
    pub fn set_options(&mut self, options: Vec<u16>) -> Result<(), Status> {
        let mut loaded = open::<LoadedImage>(self.handle).map_err(|error| error.status())?;
        let len = u32::try_from(size_of_val(&options[..])).map_err(|_| Status::BAD_BUFFER_SIZE)?;
        // SAFETY: The vector's memory stays where it is while `self` owns it unchanged, and `self`
        // unloads the image before it lets go of it.
        unsafe { loaded.set_load_options(options.as_ptr().cast(), len) };
        self.options = options;
        Ok(())
    }

    /// Starts the image. Returns only if it came back, with what it says.
    pub fn start(self) -> Status {
        match boot::start_image(self.handle) {
            Ok(()) => Status::SUCCESS,
            Err(error) => error.status(),
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // An image that ran and returned is unloaded already; its handle is then not found.
        let _ = boot::unload_image(self.handle);
    }
}
