//! Each single bit of a framed file and of a patch, turned: the device holds the same bytes as
//! without, or the installation fails and the device starts what it did.

use stillboot::driver::Source;
use stillboot::format::{BootProof, Slot};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_sim::Publisher;
use stillboot_sim::disk::Random;
use stillboot_sim::transport::{changed, components, expanded, framed, patch, text};
use stillboot_tests::{RamWorld, blank, boot, commission, media, seed};
use stillboot_transport::frame::Fault;
use stillboot_transport::outline::Outline;
use stillboot_transport::stream::{Framed, read_header};

use super::{File, bundle};

/// A device that runs the old bundle, and the new one in files of every encoding.
struct Bench<'a> {
    world: RamWorld<'a>,
    proof: BootProof,
    old: Vec<u8>,
    new: Vec<u8>,
    files: Vec<(&'static str, Vec<u8>)>,
}

fn bench(publisher: &Publisher) -> Bench<'_> {
    let (kernel, initramfs) = (text(1, 4700), text(2, 600));
    let old = bundle(publisher, 1, 4096, &[&kernel, &initramfs]);
    let new = bundle(publisher, 2, 4096, &[&changed(&kernel, 3), &changed(&initramfs, 4)]);
    let (name, geometry) = media()[0];
    assert_eq!(name, "disk with 512 byte sectors");
    let mut world = blank(publisher, geometry, &[Slot::A, Slot::B]);
    let proof = commission(&mut world, &old);
    let files = vec![
        ("lz4", framed(&new, Compression::Lz4)),
        ("zstd", framed(&new, Compression::Zstd(19))),
        ("lzma", framed(&new, Compression::Lzma)),
        ("patch", patch(&old, &new, Full::Whole(Compression::Lz4))),
    ];
    let old = components(&old);
    Bench { world, proof, old, new, files }
}

impl<'a> Bench<'a> {
    /// Installs `file` on a copy of the device.
    fn install(&self, file: &[u8]) -> (RamWorld<'a>, Result<Slot, InstallError>) {
        let mut world = self.world.clone();
        let mut source = File::new(file);
        let result = match read_header(&mut source) {
            Ok(header) => {
                let mut stream = Framed::new(source, header, &self.old[..], Vec::new());
                let running = Running::Proof(self.proof);
                world.install_with(&mut stream as &mut dyn Source, running, |_| {})
            }
            Err(_) => Err(InstallError::Source),
        };
        (world, result.map(|installed| installed.slot))
    }

    fn slot(world: &RamWorld<'_>, slot: Slot) -> Vec<u8> {
        let stretches = world.ground.stretches(slot).into_iter();
        stretches
            .flat_map(|at| world.disks[0].bytes(at.start, (at.end - at.start) as usize))
            .collect()
    }
}

#[test]
fn every_single_bit_of_every_file_ends_in_the_signed_bytes_or_in_a_clean_failure() {
    let publisher = Publisher::new(1);
    let bench = bench(&publisher);
    let (sound, slot) = bench.install(&bench.files[0].1);
    assert_eq!(slot, Ok(Slot::B));
    let installed = Bench::slot(&sound, Slot::B);
    let running = Bench::slot(&sound, Slot::A);
    let head_len = Outline::of(&bench.new).unwrap().places().next().unwrap().index as usize;
    let mut counts = [0; 4];
    for (name, file) in &bench.files {
        assert!(Bench::slot(&bench.install(file).0, Slot::B) == installed, "{name}");
        let mut number = 0;
        for bit in 0..file.len() * 8 {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            // What the core is given decides; one of each kind is installed, and of those that give
            // other bytes of the components a sample.
            let given = expanded(&file, &mut &bench.old[..]);
            let every = match &given {
                Ok((bytes, None)) if *bytes == bench.new => 60,
                Ok((bytes, None)) if bytes[..head_len] == bench.new[..head_len] => 31,
                Ok(_) | Err(_) => 400,
            };
            number += 1;
            if number % every != 0 {
                continue;
            }
            let (mut world, result) = bench.install(&file);
            assert!(Bench::slot(&world, Slot::A) == running, "{name}, bit {bit}: what runs");
            match result {
                Ok(slot) => {
                    assert_eq!(slot, Slot::B);
                    assert!(Bench::slot(&world, Slot::B) == installed, "{name}, bit {bit}");
                    counts[0] += 1;
                }
                Err(error) => {
                    counts[match error {
                        InstallError::Source => 1,
                        InstallError::Refused(Refusal::Content { .. }) => 2,
                        InstallError::Refused(_) => 3,
                        other => panic!("{name}, bit {bit}: {other}"),
                    }] += 1;
                    assert_eq!(boot(&mut world).slot, Slot::A, "{name}, bit {bit}");
                }
            }
        }
    }
    println!("installed, source failed, content refused, head refused: {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn no_single_bit_makes_a_stream_longer_or_hides_a_fault() {
    let publisher = Publisher::new(1);
    let bench = bench(&publisher);
    for (name, file) in &bench.files {
        for bit in 0..file.len() * 8 {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let Ok((given, fault)) = expanded(&file, &mut &bench.old[..]) else { continue };
            let header = read_header(&mut File::new(&file)).unwrap();
            assert!(given.len() as u64 <= header.bundle_len(), "{name}, bit {bit}");
            assert_eq!(
                fault.is_none(),
                given.len() as u64 == header.bundle_len() && { fault != Some(Fault::Trailing) }
            );
        }
    }
}

#[test]
fn damaged_old_bytes_cost_an_installation_and_nothing_else() {
    let publisher = Publisher::new(1);
    let mut bench = bench(&publisher);
    let file = bench.files[3].1.clone();
    let (sound, _) = bench.install(&file);
    let installed = Bench::slot(&sound, Slot::B);
    let mut random = Random::new(seed("damaged old bytes"));
    let whole = bench.old.clone();
    let mut failed = 0;
    for _ in 0..40 {
        bench.old.clone_from(&whole);
        for _ in 0..1 + random.below(4) {
            let at = random.below(whole.len() as u64) as usize;
            bench.old[at] ^= 1 << random.below(8);
        }
        let (mut world, result) = bench.install(&file);
        match result {
            Ok(_) => assert!(Bench::slot(&world, Slot::B) == installed),
            Err(error) => {
                failed += 1;
                assert!(matches!(error, InstallError::Refused(Refusal::Content { .. })), "{error}");
                assert_eq!(boot(&mut world).slot, Slot::A);
                // The full bundle goes in after it.
                let running = Running::Proof(bench.proof);
                let mut bundle = File::new(&bench.new);
                let slot = world.install_with(&mut bundle, running, |_| {}).unwrap().slot;
                assert_eq!(boot(&mut world).slot, slot);
                assert!(Bench::slot(&world, Slot::B) == installed);
            }
        }
    }
    assert!(failed > 30, "{failed}");
}
