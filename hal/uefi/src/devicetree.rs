//! Gives the kernel the device tree of the machine: chosen from the verified set, installed as a
//! table of the firmware's, taken back if the image never ran.
//!
//! A machine that the set does not match keeps what its firmware says of it. A slot that must not
//! start without its tree is refused then; so is one whose set is broken.

use alloc::format;
use alloc::string::String;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use stillboot::format::BootProof;
use stillboot_boot_support::refusal::StartRefusal;
use stillboot_devicetree::chid::{Fields, Panel};
use stillboot_devicetree::choice::{Decision, choose_for_slot};
use stillboot_devicetree::fdt::edit::{Change, PROOF, Value, edit, room};
use stillboot_devicetree::fdt::{Fdt, FdtError, HEADER_LEN, LEN_MAX};
use stillboot_devicetree::smbios::{ENTRY2_LEN, ENTRY3_LEN, Entry, Table};
use uefi::boot::{self, MemoryType};
use uefi::proto::unsafe_protocol;
use uefi::table::cfg::ConfigTableEntry;
use uefi::{Guid, Status, guid, system};

use crate::disks::open;
use crate::memory::Pages;

/// The table through which firmware and kernel pass a device tree.
const TABLE: Guid = guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");

/// A tree that the kernel will find. Dropping it brings back what was there before.
#[derive(Debug)]
pub struct Installed {
    /// Lent to the firmware until the old table is back. `None` once it cannot be taken back.
    pages: Option<Pages>,
    old: *const c_void,
}

/// A tree that was chosen: its name in the set, and its bytes there.
pub type Chosen<'a> = (&'a str, &'a [u8]);

/// Chooses from `set` and installs. Returns the installed tree, which has to be kept until the image
/// has come back; which one it is; and what was done, for the report.
///
/// # Errors
/// Why the slot must not start.
pub fn install<'a>(
    set: Option<&'a [u8]>,
    is_required: bool,
    proof: Option<&BootProof>,
) -> Result<(Option<Installed>, Option<Chosen<'a>>, String), StartRefusal> {
    if set.is_none() && !is_required {
        return Ok((None, None, String::new()));
    }
    let old = table(&TABLE).unwrap_or(ptr::null());
    let firmware = firmware_tree(old);
    let fields = Fields { panel: panel(), ..smbios().map_or(Fields::default(), |t| t.fields()) };
    let firmware = firmware.as_ref().map(Option::as_ref).map_err(|error| *error);
    let (tree, name, mut said) =
        choice(set, is_required, &fields, firmware).map_err(StartRefusal::of_slot)?;
    let Some(tree) = tree else { return Ok((None, None, said)) };
    let fixup = boot::get_handle_for_protocol::<Fixup>().and_then(open::<Fixup>).ok();
    // The kernel reads the tree after it has left the firmware; the memory may be reused then.
    let memory = |len| Pages::of_type(len, MemoryType::ACPI_RECLAIM);
    let fix = |pages: &mut Pages| fixup.as_ref().map_or(Ok(()), |fixup| fixup.apply(pages));
    match made(&tree, proof, memory, fix).and_then(|pages| put(pages, old)) {
        Ok(installed) => Ok((Some(installed), Some((name, tree.bytes())), said)),
        Err(refusal) if is_required => Err(refusal),
        Err(refusal) => {
            said.push_str(&format!("tree: {refusal}\n"));
            Ok((None, None, said))
        }
    }
}

/// The tree of the set for a machine, its name there, and a line for the report.
fn choice<'a>(
    set: Option<&'a [u8]>,
    is_required: bool,
    fields: &Fields<'_>,
    firmware: Result<Option<&Fdt<'a>>, FdtError>,
) -> Result<(Option<Fdt<'a>>, &'a str, String), String> {
    let (tree, decision) =
        choose_for_slot(set, is_required, fields, firmware).map_err(|refusal| text(&refusal))?;
    let name = match decision {
        Decision::Tree(entry, _) => entry.name,
        Decision::Left(_) => "",
    };
    Ok((tree, name, format!("tree: {decision}\n")))
}

/// Writes the tree, with the proof in it if there is one, to memory that stays, and lets the firmware
/// put in what only it knows; `fix` says how much room it needs when there is too little.
///
/// # Errors
/// A tree that cannot be changed is the slot's fault, all else is the machine's.
fn made<M: AsRef<[u8]> + AsMut<[u8]>>(
    tree: &Fdt<'_>,
    proof: Option<&BootProof>,
    memory: impl Fn(usize) -> Option<M>,
    fix: impl Fn(&mut M) -> Result<(), (Status, usize)>,
) -> Result<M, StartRefusal> {
    let failed = |why: &dyn core::fmt::Display| format!("its device tree is not installed: {why}");
    let of_machine = |why: &dyn core::fmt::Display| StartRefusal::of_machine(failed(why));
    let proof = proof.map(BootProof::emit);
    // A proof that came with the tree is not of this power-on: it is replaced or removed.
    let value = proof.as_deref().map_or(Value::Absent, Value::Text);
    let changes = [Change { name: PROOF, value }];
    let mut len = room(tree, &changes, &[]);
    // Once, and once more with as much room as the firmware asks for.
    for _ in 0..2 {
        let mut bytes = memory(len).ok_or_else(|| of_machine(&"there is not enough memory"))?;
        edit(tree, &changes, &[], bytes.as_mut())
            .map_err(|error| StartRefusal::of_slot(failed(&error)))?;
        match fix(&mut bytes) {
            Ok(()) => {}
            Err((Status::BUFFER_TOO_SMALL, needed)) if needed > len && needed <= LEN_MAX => {
                len = needed;
                continue;
            }
            Err((status, _)) => {
                return Err(of_machine(&format_args!("the firmware's fix-up failed: {status}")));
            }
        }
        // The firmware may write anything. A tree that the kernel cannot read is worse than none.
        Fdt::parse(bytes.as_ref()).map_err(|error| {
            of_machine(&format_args!("the firmware's fix-up damaged it: {error}"))
        })?;
        return Ok(bytes);
    }
    Err(of_machine(&"the firmware's fix-up never has enough room"))
}

/// Makes the tree in `pages` the one that the kernel finds.
fn put(pages: Pages, old: *const c_void) -> Result<Installed, StartRefusal> {
    let start = pages.bytes().as_ptr().cast();
    // SAFETY: The pages hold a tree, as this table has to, and stay until `Installed` has put the
    // old one back.
    let put = unsafe { boot::install_configuration_table(&TABLE, start) };
    put.map_err(|error| {
        let status = error.status();
        StartRefusal::of_machine(format!("its device tree is not installed: {status}"))
    })?;
    Ok(Installed { pages: Some(pages), old })
}

/// In one function, because each copy of this code would take some room.
fn text(error: &dyn core::fmt::Display) -> String {
    format!("{error}")
}

impl Drop for Installed {
    fn drop(&mut self) {
        // SAFETY: The table was installed before, by its owner; null takes the table away.
        let restored = unsafe { boot::install_configuration_table(&TABLE, self.old) };
        if restored.is_err() {
            // The firmware's table still points to it.
            core::mem::forget(self.pages.take());
        }
    }
}

/// `EFI_DT_FIXUP_PROTOCOL`: a firmware that knows more of the machine than its tree says.
#[derive(Debug)]
#[repr(C)]
#[unsafe_protocol("e617d64c-fe08-46da-f4dc-bbd5870c7300")]
struct Fixup {
    revision: u64,
    fixup: unsafe extern "efiapi" fn(*const Self, *mut c_void, *mut usize, u32) -> Status,
}

impl Fixup {
    /// Apply what the firmware knows, and reserve the memory that it keeps.
    const FLAGS: u32 = 1 | 2;

    /// Lets the firmware change the tree in `pages`. An error comes with the room that it needs.
    fn apply(&self, pages: &mut Pages) -> Result<(), (Status, usize)> {
        let bytes = pages.all_mut();
        let mut len = bytes.len();
        // SAFETY: The firmware's own function, with its own protocol; the buffer is ours alone and
        // as long as we say.
        let status =
            unsafe { (self.fixup)(self, bytes.as_mut_ptr().cast(), &mut len, Self::FLAGS) };
        if status.is_success() { Ok(()) } else { Err((status, len)) }
    }
}

/// `EFI_EDID_DISCOVERED_PROTOCOL`.
#[derive(Debug)]
#[repr(C)]
#[unsafe_protocol("1c0c34f6-d380-41fa-a049-8ad06c1a66aa")]
struct Edid {
    len: u32,
    bytes: *const u8,
}

/// The panel of the machine. `None` if there is none, or if there are several.
fn panel() -> Option<Panel> {
    let handles = boot::find_handles::<Edid>().ok()?;
    let mut found = None;
    for handle in handles {
        let Ok(edid) = open::<Edid>(handle) else { continue };
        let Some(start) = NonNull::new(edid.bytes.cast_mut()) else { continue };
        let len = edid.len.min(1024) as usize;
        // SAFETY: The firmware says that so many bytes are there, and no other code changes them
        // while the protocol is open.
        let bytes = unsafe { core::slice::from_raw_parts(start.as_ptr(), len) };
        let panel = Panel::from_edid(bytes);
        if found.is_some() && panel.is_some() && found != panel {
            return None;
        }
        found = found.or(panel);
    }
    found
}

/// Where a table of the firmware's is.
fn table(guid: &Guid) -> Option<*const c_void> {
    system::with_config_table(|tables| {
        tables.iter().find(|table| table.guid == *guid).map(|table| table.address)
    })
    .filter(|address| !address.is_null())
}

/// The tree that the firmware describes the machine by, if it has one.
fn firmware_tree(start: *const c_void) -> Result<Option<Fdt<'static>>, FdtError> {
    if start.is_null() {
        return Ok(None);
    }
    // SAFETY: The firmware's table for device trees leads to one, which has a header; tables stay
    // until the kernel has taken over.
    let header = unsafe { core::slice::from_raw_parts(start.cast::<u8>(), HEADER_LEN) };
    let len = Fdt::len_of(header)?;
    // SAFETY: As above; so many bytes are the tree's, by its header.
    let bytes = unsafe { core::slice::from_raw_parts(start.cast::<u8>(), len) };
    Fdt::parse(bytes).map(Some)
}

/// What the firmware says of the machine; version 3 before version 2, which holds less.
fn smbios() -> Option<Table<'static>> {
    let tables =
        [(ConfigTableEntry::SMBIOS3_GUID, ENTRY3_LEN), (ConfigTableEntry::SMBIOS_GUID, ENTRY2_LEN)];
    tables.iter().find_map(|(guid, len)| {
        let start = table(guid)?.cast::<u8>();
        // SAFETY: The firmware's table leads to an entry point, which is as long as this; tables
        // stay until the kernel has taken over.
        let entry = Entry::parse(unsafe { core::slice::from_raw_parts(start, *len) }).ok()?;
        let start = ptr::with_exposed_provenance::<u8>(usize::try_from(entry.address).ok()?);
        if start.is_null() {
            return None;
        }
        // SAFETY: The entry point, with a sound checksum, says that the table is there and at most
        // as long as this; all memory that firmware speaks of is mapped where it says.
        Some(entry.table(unsafe { core::slice::from_raw_parts(start, entry.len) }))
    })
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;
    use std::vec::Vec;

    use stillboot::boot::Event;
    use stillboot_devicetree::chid::Kind;
    use stillboot_devicetree::set::{Machine, build};

    use super::*;

    const LAPTOP: Fields<'static> = Fields {
        manufacturer: Some("Maker"),
        family: Some("Laptops"),
        product_name: Some("L1"),
        product_sku: None,
        board_manufacturer: None,
        board_product: None,
        bios_vendor: None,
        bios_version: None,
        bios_major: None,
        bios_minor: None,
        enclosure: None,
        panel: None,
    };

    /// A tree with nothing but the compatible `maker,one`.
    const TREE: [&[u8]; 5] = [
        b"\xd0\x0d\xfe\xed\0\0\0\x6b\0\0\0\x38\0\0\0\x60\0\0\0\x28\0\0\0\x11\0\0\0\x10\0\0\0\0",
        b"\0\0\0\x0b\0\0\0\x28\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x0a\0\0\0\0",
        b"maker,one\0\0\0\0\0\0\x02\0\0\0\x09",
        b"compatible\0",
    ];

    fn set() -> Vec<u8> {
        let chid = Kind::from_number(5).and_then(|kind| kind.chid(&LAPTOP)).unwrap();
        let tree = ("one.dtb".to_string(), TREE.concat());
        build(&[tree], &[Machine::new("One", "maker,one", [chid])]).unwrap()
    }

    #[test]
    fn a_machine_that_matches_gets_its_tree_and_the_report_says_why() {
        let set = set();
        let (tree, _, said) = choice(Some(&set), true, &LAPTOP, Ok(None)).unwrap();
        assert_eq!(tree.unwrap().compatibles().next(), Some("maker,one"));
        assert!(said.starts_with("tree: one.dtb by id ") && said.ends_with("of kind 5\n"));
        let firmware = TREE.concat();
        let firmware = Fdt::parse(&firmware).unwrap();
        let (tree, _, said) =
            choice(Some(&set), true, &Fields::default(), Ok(Some(&firmware))).unwrap();
        assert!(tree.is_some());
        assert_eq!(said, "tree: one.dtb replaces the firmware's tree, also for maker,one\n");
    }

    #[test]
    fn a_machine_that_does_not_match_is_left_alone_unless_its_tree_is_required() {
        let set = set();
        let other = Fields { product_name: Some("L2"), ..LAPTOP };
        let (tree, _, said) = choice(Some(&set), false, &other, Ok(None)).unwrap();
        assert!(tree.is_none());
        assert_eq!(said, "tree: none: the set does not know this machine\n");
        let error = choice(Some(&set), true, &other, Ok(None)).unwrap_err();
        assert_eq!(
            error,
            "it needs the device tree of this machine: the set does not know this machine"
        );
        let error = choice(None, true, &LAPTOP, Ok(None)).unwrap_err();
        assert!(error.starts_with("it needs a device tree"), "{error}");
    }

    #[test]
    fn a_broken_set_is_refused_whether_it_is_required_or_not() {
        let set = set();
        let mut broken = set.clone();
        let at = set.windows(4).position(|word| word == [0xd0, 0x0d, 0xfe, 0xed]).unwrap();
        broken[at] = 0;
        for is_required in [false, true] {
            let error = choice(Some(&set[1..]), is_required, &LAPTOP, Ok(None)).unwrap_err();
            assert_eq!(error, "expected a set of device trees, found something else");
            let error = choice(Some(&broken), is_required, &LAPTOP, Ok(None)).unwrap_err();
            assert!(error.contains("tree 0: no device tree"), "{error}");
        }
    }

    #[test]
    fn a_firmware_whose_tree_cannot_be_read_is_left_alone_and_said_so() {
        let set = set();
        let spoilt = Err(FdtError::Magic { found: 7 });
        let (tree, _, said) = choice(Some(&set), false, &LAPTOP, spoilt).unwrap();
        assert!(tree.is_none());
        assert!(said.starts_with("tree: none: the firmware's own cannot be read: "), "{said}");
        let error = choice(Some(&set), true, &LAPTOP, spoilt).unwrap_err();
        assert!(error.contains("the firmware's own cannot be read"), "{error}");
    }

    /// What comes of a firmware that has `memory` bytes and fixes like this.
    fn made_by(
        memory: usize,
        fix: impl Fn(&mut Vec<u8>) -> Result<(), (Status, usize)>,
    ) -> Result<Vec<u8>, StartRefusal> {
        let tree = TREE.concat();
        let tree = Fdt::parse(&tree).unwrap();
        let memory = |len| (len <= memory).then(|| std::vec![0xee; len]);
        made(&tree, None, memory, fix)
    }

    #[test]
    fn a_fix_up_gets_the_room_that_it_asks_for_once() {
        let plenty = usize::MAX;
        let plain = made_by(plenty, |_| Ok(())).unwrap();
        let needed = plain.len() + 500;
        let picky = |bytes: &mut Vec<u8>| match bytes.len() {
            len if len < needed => Err((Status::BUFFER_TOO_SMALL, needed)),
            _ => Ok(()),
        };
        let roomy = made_by(plenty, picky).unwrap();
        assert_eq!(roomy.len(), needed);
        let compatible = |bytes: &[u8]| {
            Fdt::parse(bytes).unwrap().compatibles().next().map(std::string::String::from)
        };
        assert_eq!(compatible(&roomy), compatible(&plain));
        // It asks for more each time, for less than it has, or for more than any tree has.
        let more = |bytes: &mut Vec<u8>| Err((Status::BUFFER_TOO_SMALL, bytes.len() + 8));
        let less = |bytes: &mut Vec<u8>| Err((Status::BUFFER_TOO_SMALL, bytes.len()));
        let most = |_: &mut Vec<u8>| Err((Status::BUFFER_TOO_SMALL, LEN_MAX + 1));
        for greedy in [&more as &dyn Fn(&mut Vec<u8>) -> _, &less, &most] {
            let refusal = made_by(plenty, greedy).unwrap_err();
            assert!(refusal.to_string().contains("fix-up"), "{refusal}");
            assert!(matches!(refusal.event(), Event::NotStarted));
        }
    }

    #[test]
    fn what_the_machine_cannot_do_for_a_tree_is_not_held_against_the_slot() {
        let spoil = |bytes: &mut Vec<u8>| {
            bytes.fill(0xff);
            Ok(())
        };
        let fail = |_: &mut Vec<u8>| Err((Status::DEVICE_ERROR, 0));
        for (memory, fix, why) in [
            (16, &fail as &dyn Fn(&mut Vec<u8>) -> _, "not enough memory"),
            (usize::MAX, &fail, "DEVICE_ERROR"),
            (usize::MAX, &spoil, "damaged"),
        ] {
            let refusal = made_by(memory, fix).unwrap_err();
            assert!(refusal.to_string().contains(why), "{refusal}");
            assert!(matches!(refusal.event(), Event::NotStarted));
        }
    }
}
