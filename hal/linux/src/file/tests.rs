use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use stillboot::device::conformance;

use super::*;

const MIB: u64 = 1 << 20;

struct Image(tempfile::NamedTempFile);

impl Image {
    fn new(bytes: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        Self(file)
    }
    fn open(&self, options: OpenOptions) -> Result<FileDevice, OpenError> {
        FileDevice::open(self.0.path(), options)
    }
    fn device(&self) -> FileDevice {
        self.open(OpenOptions::default()).unwrap()
    }
}

const READ_ONLY: OpenOptions = OpenOptions { read_only: true, logical_block: None };

#[test]
fn file_conforms_with_both_logical_blocks() {
    for logical_block in [512, 4096] {
        // Not a whole number of blocks of any size.
        let image = Image::new(MIB + 700);
        let options = OpenOptions { read_only: false, logical_block: Some(logical_block) };
        let mut device = image.open(options).unwrap();
        let capacity = MIB + if logical_block == 512 { 512 } else { 0 };
        assert_eq!(device.geometry(), Geometry::disk(logical_block, capacity));
        assert_eq!(conformance::check(&mut device, &mut [0; 8192]), Ok(()));
        drop(device);
        assert_eq!(fs::metadata(image.0.path()).unwrap().len(), MIB + 700);
    }
}

#[test]
fn bytes_outlive_the_device_and_the_dropped_cache() {
    let image = Image::new(MIB);
    let mut device = image.device();
    let bytes: Vec<u8> = (0..300 * 1024u32).map(|index| (index / 7) as u8).collect();
    device.write(4096, &bytes).unwrap();
    device.flush().unwrap();
    let mut into = vec![0; bytes.len()];
    device.read(4096, &mut into).unwrap();
    assert!(into == bytes);
    drop(device);
    assert!(fs::read(image.0.path()).unwrap()[4096..][..bytes.len()] == bytes);
}

#[test]
fn large_flushes_drop_the_range_written_and_small_ones_add_up() {
    let mut unflushed = Unflushed::default();
    assert_eq!(unflushed.take_if_large(), None);
    unflushed.add(8192, 4096);
    assert_eq!(unflushed.take_if_large(), None);
    unflushed.add(1 << 20, 60 * 1024);
    assert_eq!(unflushed.take_if_large(), None);
    unflushed.add(4096, 512);
    assert_eq!(unflushed.take_if_large(), Some(4096..(1 << 20) + 60 * 1024));
    assert_eq!(unflushed.take_if_large(), None);
    unflushed.add(0, 512);
    assert_eq!(unflushed.take_if_large(), None);
}

#[test]
fn second_writer_is_refused_with_the_path() {
    let image = Image::new(MIB);
    let first = image.device();
    for options in [OpenOptions::default(), READ_ONLY] {
        let error = image.open(options).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(error.to_string().contains(&image.0.path().display().to_string()), "{error}");
    }
    drop(first);
    image.device();
}

#[test]
fn readers_share_and_keep_writers_out() {
    let image = Image::new(MIB);
    let (first, _second) = (image.open(READ_ONLY).unwrap(), image.open(READ_ONLY).unwrap());
    drop(first);
    let error = image.open(OpenOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { read_only: false, .. }), "{error}");
}

#[test]
fn read_only_device_refuses_to_change() {
    let image = Image::new(MIB);
    fs::set_permissions(image.0.path(), fs::Permissions::from_mode(0o400)).unwrap();
    let mut device = image.open(READ_ONLY).unwrap();
    device.read(0, &mut [0; 512]).unwrap();
    assert_eq!(device.write(0, &[1; 512]), Err(DeviceError::ReadOnly));
    assert_eq!(device.erase(0, 4096), Err(DeviceError::ReadOnly));
    assert_eq!(device.flush(), Ok(()));
    assert_eq!(device.write(1, &[1; 512]), Err(DeviceError::Unaligned));
    assert_eq!(device.write(MIB, &[1; 512]), Err(DeviceError::OutOfRange));
}

#[test]
fn file_cut_short_behind_our_back_is_gone() {
    let image = Image::new(MIB);
    let mut device = image.device();
    image.0.as_file().set_len(MIB / 2).unwrap();
    assert_eq!(device.read(MIB - 512, &mut [0; 512]), Err(DeviceError::Gone));
    assert_eq!(device.write(MIB - 512, &[1; 512]), Err(DeviceError::Gone));
    assert!(device.last_error().unwrap().to_string().contains("shorter"));
    assert_eq!(device.flush(), Err(DeviceError::Gone));
    assert_eq!(image.0.as_file().metadata().unwrap().len(), MIB / 2, "it must not grow again");
    device.read(0, &mut [0; 512]).unwrap();
}

#[test]
fn what_has_no_blocks_is_no_device() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path(), Path::new("/dev/null"), Path::new("/dev/full")] {
        let error = FileDevice::open(path, OpenOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::NotADevice { .. }), "{error}");
    }
    let image = Image::new(511);
    assert!(matches!(image.open(READ_ONLY), Err(OpenError::Empty { .. })));
    let error = FileDevice::open(directory.path().join("none"), READ_ONLY).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

#[test]
fn odd_logical_blocks_are_refused() {
    let image = Image::new(MIB);
    for block in [0, 1, 256, 1000, 1024, 8192, u32::MAX] {
        let error = image.open(OpenOptions { read_only: true, logical_block: Some(block) });
        let error = error.unwrap_err();
        assert!(matches!(error, OpenError::LogicalBlock { asked, .. } if asked == block));
    }
}

#[test]
fn full_device_maps_to_full() {
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(device_error(&full.write_all(&[0; 512]).unwrap_err()), DeviceError::Full);
}

#[test]
fn system_errors_keep_their_kind() {
    for (errno, expected) in [
        (Errno::IO, DeviceError::Io),
        (Errno::NOSPC, DeviceError::Full),
        (Errno::DQUOT, DeviceError::Full),
        (Errno::ROFS, DeviceError::ReadOnly),
        (Errno::ACCESS, DeviceError::ReadOnly),
        (Errno::PERM, DeviceError::ReadOnly),
        (Errno::BADF, DeviceError::ReadOnly),
        (Errno::NODEV, DeviceError::Gone),
        (Errno::NXIO, DeviceError::Gone),
        (Errno::TIMEDOUT, DeviceError::Io),
    ] {
        assert_eq!(device_error(&errno.into()), expected, "{errno:?}");
    }
}

/// After a failed write-back the kernel forgets the pages and the next fdatasync succeeds.
#[test]
fn failed_flush_is_not_forgotten() {
    let image = Image::new(MIB);
    let mut device = image.device();
    device.flush_failed = true;
    assert_eq!(device.flush(), Err(DeviceError::Io));
    assert_eq!(device.write(0, &[1; 512]), Err(DeviceError::Io));
    device.read(0, &mut [0; 512]).unwrap();
    drop(device);
    image.device().flush().unwrap();
}

#[test]
fn device_moves_between_threads() {
    fn require_send<T: Send>() {}
    require_send::<FileDevice>();
}
