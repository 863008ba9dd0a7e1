//! Hands over to what was verified: boot steps 6 and 7.

use alloc::format;
use alloc::string::String;
#[cfg(feature = "tpm")]
use alloc::vec::Vec;

use stillboot::format::manifest::flags;
use stillboot::format::{BootProof, Digest, Manifest, Role, Slot};
#[cfg(feature = "tpm")]
use stillboot_boot_support::measure::{self, Measurement};
use stillboot_boot_support::refusal::StartRefusal;
use stillboot_boot_support::startable::{self, Target};
use uefi::Status;
use uefi::runtime::{self, ResetType};

use crate::clock::Clock;
use crate::image::Image;
use crate::initrd::{self, Initrd};
use crate::memory::ComponentMemory;
use crate::{console, options, variables, watchdog};

/// Starts the slot that was verified. Returns only if none of its code ran, with the reason.
pub fn hand_over(
    clock: &Clock,
    proof: &BootProof,
    manifest: &Manifest,
    memory: &ComponentMemory,
    report: String,
) -> StartRefusal {
    let component = |role| {
        let found = manifest.components_of(proof.slot).find(|(_, c)| c.role == role);
        found.and_then(|(_, c)| memory.component(role, c.length))
    };
    let ready = match Ready::new(Some(proof), &proof.digest, manifest, component) {
        Ok(ready) => ready,
        Err(reason) => return reason,
    };
    // Both are optional for the system; the command line has the proof as well.
    let _ = variables::set_proof(proof);
    let status = ready.start(clock, report);
    // Its code ran and may have changed anything: only a reset is clean. Boot step 7.
    console::line(format_args!("stillboot: the image of slot {} came back: {status}", proof.slot));
    if proof.attempt == 0 {
        variables::note_came_back();
    }
    runtime::reset(ResetType::COLD, status, None)
}

/// What stands ready to be started, with all that it will look for. Dropping it takes that back.
#[derive(Debug)]
pub struct Ready<'a> {
    image: Image,
    _initrd: Option<Initrd<'a>>,
    tree: Tree,
    /// What became of image and device tree, for the report.
    said: String,
    /// What is measured when it is started, and only then.
    #[cfg(feature = "tpm")]
    measured: Vec<Measurement<'a>>,
}

impl<'a> Ready<'a> {
    /// Makes the verified components of a manifest ready, which has this digest. What comes from no
    /// slot has no proof.
    ///
    /// # Errors
    /// Why they cannot be started.
    #[cfg_attr(not(feature = "tpm"), allow(unused_variables, reason = "nothing is measured"))]
    pub fn new(
        proof: Option<&BootProof>,
        digest: &Digest,
        manifest: &Manifest,
        component: impl Fn(Role) -> Option<&'a [u8]>,
    ) -> Result<Self, StartRefusal> {
        // A bundle that is in memory as a whole was verified for slot A.
        let slot = proof.map_or(Slot::A, |proof| proof.slot);
        let entry = startable::entry(Target::Uefi, manifest, slot)
            .map_err(|fault| StartRefusal::of_slot(format!("{fault}")))?
            .role;
        let is_required = manifest.flags & flags::DTB_REQUIRED != 0;
        let (tree, chosen, mut said) = install_tree(component(Role::Dtbs), is_required, proof)?;
        let image = component(entry).ok_or_else(|| {
            StartRefusal::of_machine(format!(
                "its {entry} is not in the memory that was reserved for it"
            ))
        })?;
        let options = match entry {
            Role::Kernel => {
                let cmdline = component(Role::Cmdline).unwrap_or_default();
                let options = options::load_options(cmdline, proof);
                Some(options.map_err(|error| StartRefusal::of_slot(format!("{error}")))?)
            }
            // A unified image starts as it is, and finds the proof in the variable.
            _ => None,
        };
        let initrd = match component(Role::Initramfs).map(Initrd::offer) {
            Some(offer) => {
                Some(offer.map_err(|error| StartRefusal::of_machine(format!("{error}")))?)
            }
            None if initrd::is_foreign_on_offer() => {
                return Err(StartRefusal::of_machine(format!("{}", initrd::InitrdError::Foreign)));
            }
            None => None,
        };
        let loaded = Image::load(image).and_then(|mut image| {
            options.map_or(Ok(()), |options| image.set_options(options))?;
            Ok(image)
        });
        let image = loaded.map_err(refused_image)?;
        if image.is_allowed() {
            said.push_str(
                "image: allowed by the manifest, its signature is none of the firmware's\n",
            );
        }
        #[cfg(feature = "tpm")]
        let measured = {
            let mut all = measure::of_system(digest, manifest, slot, component(Role::Cmdline));
            all.extend(chosen.map(|(name, tree)| measure::of_tree(name, tree)));
            all
        };
        Ok(Self {
            image,
            _initrd: initrd,
            tree,
            said,
            #[cfg(feature = "tpm")]
            measured,
        })
    }

    /// Starts it. Returns only if it came back, with what it says; what the firmware had before is
    /// there again then.
    pub fn start(self, clock: &Clock, report: String) -> Status {
        #[cfg(feature = "tpm")]
        let report = report + &crate::tpm::measure(&self.measured);
        #[cfg(feature = "tpm-floor")]
        crate::counter::lock();
        let Self { image, _initrd, tree, said, .. } = self;
        let time = clock.micros();
        let _ = variables::set_report(&format!("{report}{said}time: {time} us until start\n"));
        let _ = watchdog::arm(watchdog::SECONDS);
        // Dropped when the image returns, which restores the firmware's table.
        let _tree = tree;
        image.start()
    }
}

/// What the firmware says of an image that it does not load.
fn refused_image(status: Status) -> StartRefusal {
    let reason = format!("the firmware refuses its image: {status}");
    match status {
        Status::OUT_OF_RESOURCES | Status::DEVICE_ERROR => StartRefusal::of_machine(reason),
        _ => StartRefusal::of_slot(reason),
    }
}

#[cfg(feature = "devicetree")]
use crate::devicetree::install as install_tree;
#[cfg(feature = "devicetree")]
type Tree = Option<crate::devicetree::Installed>;

#[cfg(not(feature = "devicetree"))]
#[derive(Debug)]
struct Tree;
#[cfg(not(feature = "devicetree"))]
type Chosen<'a> = (&'a str, &'a [u8]);

/// Without the feature there is no tree, and what needs one does not start.
#[cfg(not(feature = "devicetree"))]
fn install_tree<'a>(
    _set: Option<&'a [u8]>,
    is_required: bool,
    _proof: Option<&BootProof>,
) -> Result<(Tree, Option<Chosen<'a>>, String), StartRefusal> {
    match is_required {
        true => {
            Err(StartRefusal::of_slot("it needs a device tree, which this loader cannot install"))
        }
        false => Ok((Tree, None, String::new())),
    }
}
