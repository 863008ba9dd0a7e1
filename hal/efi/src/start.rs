//! Hands over to what was verified: boot steps 6 and 7.

use alloc::format;
use alloc::string::String;

use stillboot::format::manifest::flags;
use stillboot::format::{BootProof, Manifest, Role};
use uefi::runtime::{self, ResetType};

use crate::clock::Clock;
use crate::image::Image;
use crate::initrd::{self, Initrd};
use crate::memory::ComponentMemory;
use crate::{console, options, variables, watchdog};

/// Starts what was verified. Returns only if none of its code ran, with the reason.
pub fn hand_over(
    clock: &Clock,
    proof: &BootProof,
    manifest: &Manifest,
    memory: &ComponentMemory,
    report: String,
) -> String {
    let component = |role| {
        let found = manifest.components_of(proof.slot).find(|(_, c)| c.role == role);
        found.and_then(|(_, c)| memory.component(role, c.length))
    };
    let is_required = manifest.flags & flags::DTB_REQUIRED != 0;
    let (tree, said) = match install_tree(component(Role::Dtbs), is_required, proof) {
        Ok(done) => done,
        Err(reason) => return reason,
    };
    let report = report + &said;
    // A unified image starts as it is, and finds the proof in the variable.
    let (image, options) = match (component(Role::Uki), component(Role::Kernel)) {
        (Some(uki), _) => (uki, None),
        (None, Some(kernel)) => {
            let cmdline = component(Role::Cmdline).unwrap_or_default();
            match options::load_options(cmdline, proof) {
                Ok(options) => (kernel, Some(options)),
                Err(error) => return format!("{error}"),
            }
        }
        (None, None) => return "it has no kernel and no unified image to load into memory".into(),
    };
    let _initrd = match component(Role::Initramfs).map(Initrd::offer) {
        Some(Ok(offer)) => Some(offer),
        Some(Err(error)) => return format!("{error}"),
        None if initrd::is_foreign_on_offer() => {
            return format!("{}", initrd::InitrdError::Foreign);
        }
        None => None,
    };
    let started = Image::load(image).and_then(|mut image| {
        options.map_or(Ok(()), |options| image.set_options(options))?;
        Ok(image)
    });
    let image = match started {
        Ok(image) => image,
        Err(status) => return format!("the firmware refuses its image: {status}"),
    };
    // Both are for the system's convenience; the command line has the proof as well.
    let _ = variables::set_proof(proof);
    let time = clock.micros();
    let _ = variables::set_report(&format!("{report}time: {time} us until start\n"));
    let _ = watchdog::arm(watchdog::SECONDS);
    let status = {
        // What the firmware had is back before anything else happens.
        let _tree = tree;
        image.start()
    };
    // Its code ran and may have changed anything: only a reset is clean. Boot step 7.
    console::line(format_args!("stillboot: the image of slot {} came back: {status}", proof.slot));
    if proof.attempt == 0 {
        variables::note_came_back();
    }
    runtime::reset(ResetType::COLD, status, None)
}

#[cfg(feature = "devicetree")]
use crate::devicetree::install as install_tree;

#[cfg(not(feature = "devicetree"))]
struct NoTree;

/// Without the feature there is no tree, and what needs one does not start.
#[cfg(not(feature = "devicetree"))]
fn install_tree(
    _set: Option<&[u8]>,
    is_required: bool,
    _proof: &BootProof,
) -> Result<(NoTree, String), String> {
    match is_required {
        true => Err("it needs a device tree, which this loader cannot install".into()),
        false => Ok((NoTree, String::new())),
    }
}
