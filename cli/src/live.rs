//! Keeps commands that act like a power-on away from the disk that this system runs from.
//!
//! A simulated boot spends a try and makes the real boot proof invalid, so that a healthy system on
//! trial is rolled back. An offline installation may overwrite the running slot after a start from
//! the last resort.

use std::path::{Path, PathBuf};

use clap::Args;
use stillboot::format::record::Body;
use stillboot::format::{BootProof, SlotState};
use stillboot_linux::{live, proof};

use crate::failure::{Exit, Failure};

/// The option that switches this check off.
#[derive(Args, Debug)]
pub struct LiveArgs {
    /// Continue even if this system seems to run from the disk
    #[arg(long)]
    pub even_if_running: bool,
}

impl LiveArgs {
    /// Refuses disks of which the running system uses any. `body` is their record, as far as they
    /// have one.
    pub fn check(&self, disks: &[PathBuf], body: &Body) -> Result<(), Failure> {
        if self.even_if_running {
            return Ok(());
        }
        check(Path::new("/"), disks, body)
    }
}

fn check(root: &Path, disks: &[PathBuf], body: &Body) -> Result<(), Failure> {
    let refused = |disk: String, why: String| {
        Failure::new(
            Exit::Refused,
            "live",
            format_args!(
                "refused: this system runs from {disk}: {why}; `stillboot next` says what would \
                 start without touching it, and --even-if-running does it anyway"
            ),
        )
    };
    for disk in disks {
        let used = live::use_of(root, disk)
            .map_err(|error| Failure::system("find out whether anything uses", disk, &error))?;
        if let Some(used) = used {
            let place = match used.place.as_str() {
                "swap" => "in use as swap".to_owned(),
                place => format!("mounted at {place}"),
            };
            return Err(refused(disk.display().to_string(), format!("{} is {place}", used.device)));
        }
    }
    // Text that is not a boot proof was not left by a stillboot loader.
    let Ok(Some(text)) = proof::read_live(root) else { return Ok(()) };
    let Some(proof) = BootProof::parse(&text) else { return Ok(()) };
    let entry = body.slot(proof.slot);
    let are_images = disks.iter().all(|disk| disk.is_file());
    let is_it = entry.digest == proof.digest
        && match entry.state {
            SlotState::Trying { attempt, nonce, .. } => {
                (attempt, nonce) == (proof.attempt, proof.nonce)
            }
            // The record has no nonce for a good slot, and every image of the same release has this
            // digest.
            _ => !are_images,
        };
    if is_it {
        let names: Vec<_> = disks.iter().map(|disk| disk.display().to_string()).collect();
        let why = format!("its boot proof is of slot {} there", proof.slot);
        return Err(refused(names.join(" and "), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stillboot::format::Slot;

    use super::*;

    #[test]
    fn a_disk_whose_trial_runs_is_refused_by_the_proof() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let disk = root.join("disk.img");
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(root.join("proc/self/mountinfo"), "").unwrap();
        fs::write(&disk, "").unwrap();
        let disk = [disk];
        let proof = BootProof {
            slot: Slot::B,
            digest: [7; 32],
            attempt: 1,
            nonce: 9,
            keyset_version: 1,
            record_version: 1,
            manifest_schema: 1,
        };
        let mut body = Body::default();
        let entry = body.slot_mut(Slot::B);
        entry.digest = [7; 32];
        entry.state = SlotState::Trying { left: 1, attempt: 1, nonce: 9 };
        assert!(check(root, &disk, &body).is_ok(), "no proof, no claim");
        fs::write(root.join("proc/cmdline"), format!("quiet stillboot.proof={}\n", proof.emit()))
            .unwrap();
        let refused = check(root, &disk, &body).unwrap_err();
        assert_eq!((refused.kind, refused.exit), ("live", Exit::Refused));
        assert!(LiveArgs { even_if_running: true }.check(&disk, &body).is_ok());
        // With another power-on or another release it is another disk.
        let mut other = body.clone();
        other.slot_mut(Slot::B).state = SlotState::Trying { left: 1, attempt: 1, nonce: 8 };
        assert!(check(root, &disk, &other).is_ok());
        other.slot_mut(Slot::B).state = SlotState::Good;
        assert!(check(root, &disk, &other).is_ok(), "an image of the same release");
    }
    /// The record may be on a disk that nothing uses, and the slot that is written on the next one.
    #[test]
    fn every_disk_is_looked_at_and_the_one_in_use_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = &folder.path().canonicalize().unwrap();
        let disks = [root.join("one.img"), root.join("two.img")];
        disks.iter().for_each(|disk| fs::write(disk, "").unwrap());
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::create_dir_all(root.join("sys/block/loop0/loop")).unwrap();
        fs::write(root.join("proc/self/mountinfo"), "22 1 7:0 / /mnt rw - ext4 /dev/loop0 rw\n")
            .unwrap();
        fs::write(root.join("sys/block/loop0/dev"), "7:0\n").unwrap();
        let backing = format!("{}\n", disks[1].display());
        fs::write(root.join("sys/block/loop0/loop/backing_file"), backing).unwrap();
        let body = Body::default();
        assert!(check(root, &disks[..1], &body).is_ok());
        let refused = check(root, &disks, &body).unwrap_err();
        assert_eq!((refused.kind, refused.exit), ("live", Exit::Refused));
        assert!(refused.message.contains("two.img: 7:0 is mounted at /mnt"), "{}", refused.message);
    }
}
