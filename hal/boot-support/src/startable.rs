//! What a slot must hold so that a loader starts it: one set of rules, for the loaders and for the
//! tools that make and check bundles. What breaks one of them is refused before it is signed, and
//! not only on a device.
//!
//! A manifest says by its processor and its roles what it is for. One for a processor of a
//! microcontroller holds a program, and its loader has the rules of [`Target::Program`]. So does one
//! with an `image` and nothing else to start, unless it is for a processor that only loaders of
//! Linux run on. Any other holds a kernel or a unified image for [`Target::Uefi`], of which
//! [`Target::Bare`] starts the kernel only.

use core::fmt;

use stillboot::format::manifest::flags;
use stillboot::format::{Architecture, Component, Load, Manifest, Role, Slot, SlotKind};

use crate::command_line::{self, CommandLineError};

/// The kind of loader that starts a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Target {
    /// A loader, or a stub, that firmware for UEFI started.
    Uefi,
    /// A loader of Linux without firmware.
    Bare,
    /// The loader of a microcontroller, or of any other single program.
    Program,
}

impl Target {
    /// What the components of `manifest` are for. A loader without firmware cannot be told from one
    /// on UEFI, which starts all that it starts.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let is_small = matches!(
            manifest.architecture,
            Architecture::Thumbv6m
                | Architecture::Thumbv7m
                | Architecture::Thumbv7em
                | Architecture::Thumbv8m
                | Architecture::Riscv32
        );
        let is_large =
            matches!(manifest.architecture, Architecture::X86_64 | Architecture::Aarch64);
        let has = |role| manifest.components.iter().any(|component| component.role == role);
        // The rules for command lines apply also if an image is packed beside the kernel.
        let is_image = has(Role::Image) && !has(Role::Kernel) && !has(Role::Uki);
        if is_small || (is_image && !is_large) { Self::Program } else { Self::Uefi }
    }

    /// What it starts, in the order in which it looks for it.
    #[must_use]
    pub const fn starts(self) -> &'static [Role] {
        match self {
            Self::Uefi => &[Role::Uki, Role::Kernel],
            Self::Bare => &[Role::Kernel],
            Self::Program => &[Role::Image, Role::Kernel],
        }
    }

    /// Whether it has to find a component of this role in memory.
    const fn loads(self, role: Role) -> bool {
        match self {
            Self::Uefi | Self::Bare => matches!(
                role,
                Role::Uki | Role::Kernel | Role::Initramfs | Role::Cmdline | Role::Dtbs
            ),
            Self::Program => false,
        }
    }
}

/// Why a slot is not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Fault {
    /// Nothing in it can be started by such a loader.
    Nothing(Target),
    /// A component that the loader hands over is not loaded into memory by it.
    NotLoaded(Role, Load),
    /// It needs the device tree of the machine, and brings no set of them.
    NoTrees,
    /// Its command line cannot be handed over.
    CommandLine(CommandLineError),
    /// A component is linked for a slot that takes bundles of the other kind only.
    OtherKind(Role, Slot),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(target) => f.write_str(match target {
                Target::Uefi => "it has no kernel and no unified image",
                Target::Bare => "it has no kernel",
                Target::Program => "it has no image and no kernel",
            }),
            Self::NotLoaded(role, load) => write!(
                f,
                "its {role} has load class {load}: a loader hands over only what it loads into \
                 memory, load class ram"
            ),
            Self::NoTrees => {
                f.write_str("it must not start without a device tree, and has no set of them")
            }
            Self::CommandLine(error) => error.fmt(f),
            Self::OtherKind(role, slot) => write!(
                f,
                "its {role} is linked for slot {slot}, which takes bundles of another kind"
            ),
        }
    }
}

impl core::error::Error for Fault {}

/// The component that `target` starts of what `manifest` has for `slot`.
///
/// # Errors
/// [`Fault`], as far as the manifest alone can tell.
pub fn entry(target: Target, manifest: &Manifest, slot: Slot) -> Result<&Component, Fault> {
    let find = |role: Role| {
        manifest.components_of(slot).map(|(_, component)| component).find(|c| c.role == role)
    };
    // A component that is not in memory would be left out silently: a kernel would start without
    // its command line.
    let loaded = |component: &&Component| component.load == Load::Ram;
    let left_out = manifest.components_of(slot).map(|(_, component)| component);
    if let Some(component) = left_out.filter(|c| target.loads(c.role)).find(|c| !loaded(c)) {
        return Err(Fault::NotLoaded(component.role, component.load));
    }
    let entry = target.starts().iter().copied().find_map(find).ok_or(Fault::Nothing(target))?;
    if entry.load == Load::Late {
        return Err(Fault::NotLoaded(entry.role, entry.load));
    }
    if manifest.flags & flags::DTB_REQUIRED != 0 && find(Role::Dtbs).is_none() {
        return Err(Fault::NoTrees);
    }
    Ok(entry)
}

/// As [`entry`], with the command line too: `cmdline` is that component of `slot`, empty if there is
/// none.
///
/// # Errors
/// [`Fault`].
pub fn check<'a>(
    target: Target,
    manifest: &'a Manifest,
    slot: Slot,
    cmdline: &[u8],
) -> Result<&'a Component, Fault> {
    let entry = entry(target, manifest, slot)?;
    // A unified image has its own command line, and a program may give its bytes any meaning.
    if target != Target::Program && entry.role == Role::Kernel {
        command_line::check(cmdline).map_err(Fault::CommandLine)?;
    }
    Ok(entry)
}

/// The slots of `kind` that a bundle was made for: those that a component which is started is linked
/// for, and all of them if it is linked for none.
///
/// # Errors
/// [`Fault::OtherKind`].
pub fn slots(
    manifest: &Manifest,
    kind: SlotKind,
) -> Result<impl Iterator<Item = Slot> + '_, Fault> {
    let linked = |component: &Component| {
        Slot::ALL.into_iter().find(|slot| component.linked == 1 + *slot as u8)
    };
    for component in &manifest.components {
        if let Some(slot) = linked(component).filter(|slot| slot.kind() != kind) {
            return Err(Fault::OtherKind(component.role, slot));
        }
    }
    let starts = Target::of(manifest).starts();
    let mut started = manifest.components.iter().filter(|c| starts.contains(&c.role)).peekable();
    let is_for_all = started.peek().is_none() || started.any(|component| component.linked == 0);
    let named = move |slot: &Slot| manifest.components.iter().any(|c| linked(c) == Some(*slot));
    let of_kind = Slot::ALL.into_iter().filter(move |slot| slot.kind() == kind);
    Ok(of_kind.filter(move |slot| is_for_all || named(slot)))
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use stillboot_sim::{Piece, Publisher};

    use super::*;

    const SLOTS: [Slot; 3] = [Slot::A, Slot::B, Slot::C];

    fn manifest(pieces: &[(Role, Load, Option<Slot>)], change: fn(&mut Manifest)) -> Manifest {
        let publisher = Publisher::new(1);
        let mut manifest = publisher.manifest(1);
        change(&mut manifest);
        let pieces: Vec<_> = pieces
            .iter()
            .map(|(role, load, linked)| Piece {
                role: *role,
                load: *load,
                linked: *linked,
                bytes: b"bytes",
            })
            .collect();
        let bundle = publisher.bundle(manifest, SlotKind::Update, &pieces).unwrap();
        let (manifest, _) = stillboot::verify::verify_head::<stillboot::verify::SoftSha256>(
            &publisher.device(),
            SlotKind::Update,
            &bundle,
        )
        .unwrap();
        (*manifest).clone()
    }

    fn plain(pieces: &[(Role, Load, Option<Slot>)]) -> Manifest {
        manifest(pieces, |_| ())
    }

    #[test]
    fn each_kind_of_loader_starts_its_own_kind_of_slot() {
        use Role::{Data, Image, Kernel, Rootfs, Uki};
        let ram = |role| (role, Load::Ram, None);
        for (pieces, uefi, bare, program) in [
            (vec![ram(Kernel)], Some(Kernel), Some(Kernel), Some(Kernel)),
            (vec![ram(Kernel), ram(Uki)], Some(Uki), Some(Kernel), Some(Kernel)),
            (vec![ram(Uki)], Some(Uki), None, None),
            (vec![ram(Image)], None, None, Some(Image)),
            (vec![ram(Rootfs), ram(Data)], None, None, None),
        ] {
            let manifest = plain(&pieces);
            for (target, expected) in
                [(Target::Uefi, uefi), (Target::Bare, bare), (Target::Program, program)]
            {
                let found = entry(target, &manifest, Slot::B).map(|component| component.role);
                assert_eq!(found, expected.ok_or(Fault::Nothing(target)), "{pieces:?}");
            }
        }
    }

    #[test]
    fn what_is_for_is_told_by_the_roles() {
        let ram = |role| (role, Load::Ram, None);
        assert_eq!(Target::of(&plain(&[ram(Role::Kernel)])), Target::Uefi);
        assert_eq!(Target::of(&plain(&[ram(Role::Image)])), Target::Program);
        for role in [Role::Kernel, Role::Uki] {
            assert_eq!(Target::of(&plain(&[ram(Role::Image), ram(role)])), Target::Uefi);
        }
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let mut image = plain(&[ram(Role::Image)]);
            image.architecture = architecture;
            assert_eq!(Target::of(&image), Target::Uefi);
        }
        // Settings for a program are bytes, not a line for a kernel.
        let settings = plain(&[ram(Role::Image), ram(Role::Cmdline)]);
        let checked = check(Target::of(&settings), &settings, Slot::A, b"\xff\"\n1");
        assert_eq!(checked.map(|component| component.role), Ok(Role::Image));
        let small = |manifest: &mut Manifest| manifest.architecture = Architecture::Thumbv7em;
        let mut kernel = plain(&[ram(Role::Kernel)]);
        small(&mut kernel);
        assert_eq!(Target::of(&kernel), Target::Program);
    }

    #[test]
    fn what_a_loader_would_leave_out_is_a_fault() {
        for role in [Role::Kernel, Role::Initramfs, Role::Cmdline, Role::Dtbs] {
            for load in [Load::Late, Load::Xip] {
                let mut pieces = vec![(Role::Kernel, Load::Ram, None)];
                pieces.retain(|piece| piece.0 != role);
                pieces.push((role, load, None));
                let manifest = plain(&pieces);
                assert_eq!(
                    entry(Target::Uefi, &manifest, Slot::A),
                    Err(Fault::NotLoaded(role, load))
                );
            }
        }
        let late = [(Role::Kernel, Load::Ram, None), (Role::Rootfs, Load::Late, None)];
        assert!(entry(Target::Uefi, &plain(&late), Slot::A).is_ok());
        let image = plain(&[(Role::Image, Load::Xip, None)]);
        assert!(entry(Target::Program, &image, Slot::A).is_ok());
    }

    #[test]
    fn trees_and_command_lines_are_part_of_it() {
        let kernel = [(Role::Kernel, Load::Ram, None)];
        let required = manifest(&kernel, |manifest| manifest.flags = flags::DTB_REQUIRED);
        assert_eq!(entry(Target::Bare, &required, Slot::A), Err(Fault::NoTrees));
        let kernel = plain(&kernel);
        let open = check(Target::Uefi, &kernel, Slot::A, b"a=\"b");
        assert_eq!(open, Err(Fault::CommandLine(CommandLineError::OpenQuote)));
        let unified = plain(&[(Role::Uki, Load::Ram, None)]);
        assert!(check(Target::Uefi, &unified, Slot::A, b"a=\"b").is_ok());
    }

    #[test]
    fn slots_are_those_that_the_started_component_is_linked_for() {
        let of =
            |pieces: &[_], kind| slots(&plain(pieces), kind).map(|slots| slots.collect::<Vec<_>>());
        let free = [(Role::Kernel, Load::Ram, None), (Role::Dtbs, Load::Ram, Some(Slot::B))];
        assert_eq!(of(&free, SlotKind::Update), Ok(SLOTS.to_vec()));
        let linked =
            [(Role::Kernel, Load::Ram, Some(Slot::A)), (Role::Initramfs, Load::Ram, Some(Slot::B))];
        assert_eq!(of(&linked, SlotKind::Update), Ok(vec![Slot::A, Slot::B]));
        assert_eq!(
            entry(Target::Uefi, &plain(&linked), Slot::B),
            Err(Fault::Nothing(Target::Uefi))
        );
        let stray = [(Role::Kernel, Load::Ram, Some(Slot::Recovery))];
        let other = Fault::OtherKind(Role::Kernel, Slot::Recovery);
        assert_eq!(of(&stray, SlotKind::Update), Err(other));
        assert_eq!(of(&stray, SlotKind::Recovery), Ok(vec![Slot::Recovery]));
    }
}
