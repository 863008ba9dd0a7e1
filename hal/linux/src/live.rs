//! Whether something of a disk is in use by the system that runs: by what the kernel says of mounts,
//! swap, and the devices below them.
//!
//! A lock cannot tell: the running system's own file systems hold none.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// Devices stand on devices: partitions, mappings, arrays. A chain longer than this is a loop.
const DEPTH_MAX: usize = 16;

/// Something on the disk that the running system uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Use {
    /// The device, by its name in the kernel.
    pub device: String,
    /// Where it is mounted, or `swap`.
    pub place: String,
}

/// What the system below `root` (`/` outside of tests) uses of the disk, or image of one, at `path`.
///
/// # Errors
/// What the system said: what cannot be looked at may be in use.
pub fn use_of(root: &Path, path: &Path) -> io::Result<Option<Use>> {
    let found = fs::metadata(path)?;
    let disks = if found.file_type().is_block_device() {
        let number = found.st_rdev();
        vec![format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number))]
    } else {
        loops_on(root, &fs::canonicalize(path)?)?
    };
    use_of_devices(root, &disks)
}

/// The loop devices that stand on the file at `path`, as `major:minor`.
fn loops_on(root: &Path, path: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in entries(&root.join("sys/block"))? {
        let Ok(backing) = fs::read_to_string(entry.join("loop/backing_file")) else { continue };
        if Path::new(backing.trim_end_matches('\n')) == path {
            found.push(number_of(&entry)?);
        }
    }
    Ok(found)
}

fn use_of_devices(root: &Path, disks: &[String]) -> io::Result<Option<Use>> {
    if disks.is_empty() {
        return Ok(None);
    }
    // If a partition is given as the disk, the whole disk is meant: the record may be in another
    // partition.
    let disks: Vec<_> = disks.iter().map(|number| whole(root, number)).collect();
    for line in fs::read_to_string(root.join("proc/self/mountinfo"))?.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (Some(number), Some(place)) = (fields.get(2), fields.get(4)) else { continue };
        // Some file systems have numbers of their own, and name the device as the source.
        let source =
            fields.iter().position(|field| *field == "-").and_then(|at| fields.get(at + 2));
        let by_name = source.and_then(|source| number_by_name(root, source));
        for number in [Some((*number).to_owned()), by_name].into_iter().flatten() {
            if stands_on(root, &number, &disks, DEPTH_MAX) {
                let device = name_of(root, &number);
                return Ok(Some(Use { device, place: (*place).to_owned() }));
            }
        }
    }
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    for line in swaps.lines().skip(1) {
        let source = line.split_whitespace().next().unwrap_or_default();
        if let Some(number) = number_by_name(root, source)
            && stands_on(root, &number, &disks, DEPTH_MAX)
        {
            return Ok(Some(Use { device: name_of(root, &number), place: "swap".into() }));
        }
    }
    Ok(None)
}

/// Whether the device `number` is one of `disks`, a part of it, or stands on one.
fn stands_on(root: &Path, number: &str, disks: &[String], depth: usize) -> bool {
    if disks.contains(&whole(root, number)) {
        return true;
    }
    let slaves = entries(&root.join("sys/dev/block").join(number).join("slaves"));
    depth > 0
        && slaves.unwrap_or_default().iter().any(|slave| {
            number_of(slave).is_ok_and(|number| stands_on(root, &number, disks, depth - 1))
        })
}

/// The disk that the device `number` is a partition of, else itself.
fn whole(root: &Path, number: &str) -> String {
    let place = root.join("sys/dev/block").join(number);
    let disk = fs::canonicalize(&place).ok().filter(|place| place.join("partition").exists());
    disk.and_then(|place| number_of(place.parent()?).ok()).unwrap_or_else(|| number.to_owned())
}

/// `major:minor` of the device that has this folder.
fn number_of(folder: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(folder.join("dev"))?.trim().to_owned())
}

/// `major:minor` of the device at `/dev/...`.
fn number_by_name(root: &Path, source: &str) -> Option<String> {
    let source = source.strip_prefix("/dev/")?;
    let real = fs::canonicalize(root.join("dev").join(source)).ok();
    let name = real.as_deref().and_then(Path::file_name).map_or(source.into(), |n| n.to_owned());
    number_of(&root.join("sys/class/block").join(name)).ok()
}

fn name_of(root: &Path, number: &str) -> String {
    let real = fs::canonicalize(root.join("sys/dev/block").join(number)).ok();
    let name = real.as_deref().and_then(Path::file_name);
    name.map_or_else(|| number.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine with a disk of two partitions, an encrypted mapping on the second, another disk,
    /// and a loop device.
    fn machine(mounts: &str, swaps: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (place, number) in [
            ("sda", "8:0"),
            ("sda/sda1", "8:1"),
            ("sda/sda2", "8:2"),
            ("sdb", "8:16"),
            ("dm-0", "253:0"),
            ("loop0", "7:0"),
        ] {
            let device = format!("sys/devices/block/{place}");
            write(&format!("{device}/dev"), &format!("{number}\n"));
            if place.contains('/') {
                write(&format!("{device}/partition"), "1\n");
            }
            fs::create_dir_all(root.join("sys/dev/block")).unwrap();
            fs::create_dir_all(root.join("sys/class/block")).unwrap();
            let name = place.rsplit('/').next().unwrap();
            let target = root.join(&device);
            symlink(&target, root.join("sys/dev/block").join(number)).unwrap();
            symlink(&target, root.join("sys/class/block").join(name)).unwrap();
        }
        fs::create_dir_all(root.join("sys/devices/block/dm-0/slaves")).unwrap();
        symlink(
            root.join("sys/devices/block/sda/sda2"),
            root.join("sys/devices/block/dm-0/slaves/sda2"),
        )
        .unwrap();
        write("sys/block/loop0/dev", "7:0\n");
        write("sys/block/loop0/loop/backing_file", "/images/disk.img\n");
        write("proc/self/mountinfo", mounts);
        write("proc/swaps", &format!("Filename Type Size Used Priority\n{swaps}"));
        folder
    }

    fn found(mounts: &str, swaps: &str, disk: &str) -> Option<(String, String)> {
        let machine = machine(mounts, swaps);
        let found = use_of_devices(machine.path(), &[disk.to_owned()]).unwrap();
        found.map(|found| (found.device, found.place))
    }

    #[test]
    fn mounts_are_found_through_partitions_mappings_and_sources() {
        let uses = |device: &str, place: &str| Some((device.to_owned(), place.to_owned()));
        let root = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(found(root, "", "8:0"), uses("sda1", "/"));
        // Named by one of its partitions, the disk is in use all the same.
        assert_eq!(found(root, "", "8:2"), uses("sda1", "/"));
        assert_eq!(found(root, "", "8:16"), None);
        let mapped = "22 1 253:0 / /data rw - xfs /dev/mapper/crypt rw\n";
        assert_eq!(found(mapped, "", "8:0"), uses("dm-0", "/data"));
        let named = "22 1 0:30 / /home rw shared:1 - btrfs /dev/sda2 rw\n";
        assert_eq!(found(named, "", "8:0"), uses("sda2", "/home"));
        let none = "22 1 0:30 / / rw - overlay overlay rw\n";
        assert_eq!(found(none, "", "8:0"), None);
        assert_eq!(found(none, "/dev/sda2 partition 100 0 -2\n", "8:0"), uses("sda2", "swap"));
    }

    #[test]
    fn an_image_is_in_use_through_its_loop_device() {
        let machine = machine("22 1 7:0 / /mnt rw - ext4 /dev/loop0 rw\n", "");
        let loops = loops_on(machine.path(), Path::new("/images/disk.img")).unwrap();
        assert_eq!(loops, ["7:0"]);
        assert_eq!(use_of_devices(machine.path(), &loops).unwrap().unwrap().place, "/mnt");
        assert!(loops_on(machine.path(), Path::new("/images/other.img")).unwrap().is_empty());
        let file = machine.path().join("disk.img");
        fs::write(&file, "").unwrap();
        assert_eq!(use_of(machine.path(), &file).unwrap(), None);
    }
}
