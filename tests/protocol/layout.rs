//! Where everything stands: addresses that do not move, and layouts that are refused.

use stillboot::device::Geometry;
use stillboot::format::{
    Component, Encryption, KeyKind, Load, Manifest, Role, Slot, SlotKind, record,
};
use stillboot::layout::{Area, Layout, LayoutError, Part, Region, SlotLayout, SlotRegion};
use stillboot::request::Request;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::bench::{Bench, BenchSlot};
use stillboot_tests::forge::{Foreign, split, with_signatures};
use stillboot_tests::media;

const fn region(device: u8, offset: u64, len: u64) -> Region {
    Region { device, offset, len }
}

const fn nor(erase: u32, capacity: u64) -> Geometry {
    Geometry {
        logical_block_bytes: 1,
        write_granule_bytes: 8,
        erase_block_bytes: erase,
        capacity_bytes: capacity,
        erased: Some(0xff),
    }
}

/// A layout that is known beforehand is checked by the compiler: three places, slot A of 1 MiB and its
/// head on one flash, whose erase blocks have 4 KiB.
const FLASH: &[Geometry] = &[nor(4096, 4 << 20)];
const PLACES: &[Region] =
    &[region(0, 0, 0x1000), region(0, 0x1000, 0x1000), region(0, 0x2000, 0x1000)];
const DATA: &[SlotRegion] = &[SlotRegion { region: region(0, 0x10_0000, 1 << 20), roles: &[] }];
const SLOTS: &[SlotLayout<'static>] =
    &[SlotLayout::new(Slot::A, DATA).with_head(region(0, 0x20_0000, 0x3000))];
const LAYOUT: Layout<'static> = match Layout::new(FLASH, Area::Blocks(PLACES), SLOTS) {
    Ok(layout) => layout,
    Err(_) => panic!("the layout is unsound"),
};

/// A manifest with components of these lengths, in the order of the roles.
fn of(chunk_size: u32, components: &[(Role, u64)]) -> Manifest {
    let mut manifest = Publisher::new(1).manifest(1);
    manifest.chunk_size = chunk_size;
    for (role, length) in components {
        let component = Component {
            role: *role,
            load: Load::Xip,
            linked: 0,
            encryption: Encryption::None,
            length: *length,
            index_root: [0; 32],
            sha256: [0; 32],
        };
        manifest.components.push(component).unwrap();
    }
    manifest
}

fn new(
    geometries: &[Geometry],
    places: &[Region],
    slots: &[SlotLayout<'_>],
) -> Result<(), LayoutError> {
    Layout::new(geometries, Area::Blocks(places), slots).map(|_| ())
}

/// An image that runs in place is linked for one address. It must be the same whatever the release.
#[test]
fn the_address_of_an_image_does_not_move_with_chunk_size_or_number_of_chunks() {
    for shift in 12..=20 {
        let chunk = 1 << shift;
        for length in [1, 4095, 4096, 4097, 100_000, 500_000, 900_000] {
            for others in [&[][..], &[(Role::Cmdline, 1)], &[(Role::Data, 20_000), (Role::Dtbs, 5)]]
            {
                let components = [&[(Role::Image, length)], others].concat();
                let manifest = of(chunk, &components);
                let image = LAYOUT.component(Slot::A, &manifest, 0).unwrap();
                assert_eq!((image.device, image.offset), (0, 0x10_0000), "{length}, {chunk}");
                assert_eq!(image.len, length.next_multiple_of(4096));
                // Each further one on the next erase block, and the indexes from the end.
                let mut end = image.offset + image.len;
                let mut top = 0x20_0000;
                for number in 0..components.len() {
                    let index = LAYOUT.index(Slot::A, &manifest, number).unwrap();
                    let len = manifest.components[number].index_len(chunk).next_multiple_of(4096);
                    assert_eq!(index, region(0, top - len, len), "{number}");
                    top -= len;
                    if number > 0 {
                        let data = LAYOUT.component(Slot::A, &manifest, number).unwrap();
                        assert_eq!(data.offset, end, "{number}");
                        end += data.len;
                    }
                }
                assert!(end <= top);
                LAYOUT.check_fit(Slot::A, &manifest).unwrap();
            }
        }
    }
}

#[test]
fn the_head_of_a_slot_is_trust_area_confirmed_block_and_commit_block() {
    assert_eq!(LAYOUT.part(Slot::A, Part::Trust), Ok(region(0, 0x20_0000, 0x1000)));
    assert_eq!(LAYOUT.part(Slot::A, Part::Confirmed), Ok(region(0, 0x20_1000, 0x1000)));
    assert_eq!(LAYOUT.part(Slot::A, Part::Commit), Ok(region(0, 0x20_2000, 0x1000)));
    assert_eq!(LAYOUT.part(Slot::B, Part::Trust), Err(LayoutError::NoSuchSlot(Slot::B)));
    assert_eq!(LAYOUT.head_len_max(), 4096);
}

/// The last block goes to a component or to an index, never to both.
#[test]
fn data_and_indexes_that_fill_a_region_fit_and_one_byte_more_does_not() {
    // 256 blocks: one for each index, the others for data.
    let most = (256 - 2) * 4096;
    for (first, second) in [(most - 4096, 4096), (4096, most - 4096), (most / 2, most / 2)] {
        let manifest = of(1 << 20, &[(Role::Kernel, first), (Role::Data, second)]);
        LAYOUT.check_fit(Slot::A, &manifest).unwrap();
        for more in [(first + 1, second), (first, second + 1)] {
            let manifest = of(1 << 20, &[(Role::Kernel, more.0), (Role::Data, more.1)]);
            let found = LAYOUT.check_fit(Slot::A, &manifest);
            let (needed, available) = ((1 << 20) + 4096, 1 << 20);
            assert_eq!(found, Err(LayoutError::TooSmall { needed, available }));
        }
    }
    // An index alone.
    let huge = of(4096, &[(Role::Kernel, 1 << 40)]);
    assert!(matches!(LAYOUT.index(Slot::A, &huge, 0), Err(LayoutError::TooSmall { .. })));
}

#[test]
fn indexes_stand_in_a_region_of_their_own_where_the_layout_has_one() {
    let slots = [SLOTS[0].with_index(region(0, 0x30_0000, 0x3000))];
    let layout = Layout::new(FLASH, Area::Blocks(PLACES), &slots).unwrap();
    // The data has all of its region then: 256 blocks, whose indexes take one block each.
    let manifest = of(4096, &[(Role::Kernel, 100 * 4096), (Role::Data, 156 * 4096)]);
    layout.check_fit(Slot::A, &manifest).unwrap();
    assert_eq!(layout.component(Slot::A, &manifest, 0), Ok(region(0, 0x10_0000, 100 * 4096)));
    assert_eq!(
        layout.component(Slot::A, &manifest, 1),
        Ok(region(0, 0x10_0000 + 100 * 4096, 156 * 4096))
    );
    assert_eq!(layout.index(Slot::A, &manifest, 0), Ok(region(0, 0x30_2000, 0x1000)));
    // 156 chunks have an index of 4992 bytes.
    assert_eq!(layout.index(Slot::A, &manifest, 1), Ok(region(0, 0x30_0000, 0x2000)));
    // Either part may be too long, each for its own region.
    let data = of(4096, &[(Role::Kernel, 100 * 4096), (Role::Data, 156 * 4096 + 1)]);
    let (needed, available) = (257 * 4096, 256 * 4096);
    assert_eq!(layout.check_fit(Slot::A, &data), Err(LayoutError::TooSmall { needed, available }));
    let indexes = of(4096, &[(Role::Kernel, 129 * 4096), (Role::Data, 129 * 4096)]);
    let (needed, available) = (4 * 4096, 3 * 4096);
    assert_eq!(
        layout.index(Slot::A, &indexes, 0),
        Err(LayoutError::TooSmall { needed, available })
    );
    assert!(layout.check_fit(Slot::A, &indexes).is_err());
}

#[test]
fn a_component_goes_into_the_region_that_names_its_role_and_its_index_into_the_first() {
    let geometries = [nor(4096, 4 << 20), Geometry::disk(512, 64 << 20)];
    let regions = [
        DATA[0],
        SlotRegion { region: region(1, 1 << 20, 8 << 20), roles: &[Role::Rootfs, Role::Verity] },
    ];
    let slots = [{
        let mut changed = SLOTS[0];
        changed.regions = &regions;
        changed
    }];
    let layout = Layout::new(&geometries, Area::Blocks(PLACES), &slots).unwrap();
    let manifest = of(
        4096,
        &[(Role::Rootfs, 5 << 20), (Role::Kernel, 5000), (Role::Verity, 77), (Role::Data, 9)],
    );
    layout.check_fit(Slot::A, &manifest).unwrap();
    let places: Vec<_> =
        (0..4).map(|number| layout.component(Slot::A, &manifest, number).unwrap()).collect();
    assert_eq!(
        places,
        [
            region(1, 1 << 20, 5 << 20),
            region(0, 0x10_0000, 8192),
            region(1, 6 << 20, 4096),
            region(0, 0x10_2000, 4096),
        ]
    );
    let index = layout.index(Slot::A, &manifest, 0).unwrap();
    assert_eq!(index, region(0, 0x20_0000 - 40960, 40960));
}

/// Components for another slot take no place in this one.
#[test]
fn what_is_linked_for_another_slot_moves_nothing() {
    let b = [SlotRegion { region: region(0, 0x24_0000, 1 << 20), roles: &[] }];
    let slots = [SLOTS[0], SlotLayout::new(Slot::B, &b).with_head(region(0, 0x34_0000, 0x3000))];
    let layout = Layout::new(FLASH, Area::Blocks(PLACES), &slots).unwrap();
    let mut manifest = of(4096, &[(Role::Image, 300_000), (Role::Kernel, 700_000)]);
    manifest.components[0].linked = 1;
    manifest.components[1].linked = 2;
    manifest.components[1].role = Role::Image;
    for (slot, number, start) in [(Slot::A, 0, 0x10_0000), (Slot::B, 1, 0x24_0000)] {
        let place = layout.component(slot, &manifest, number).unwrap();
        assert_eq!(place.offset, start);
        let index = layout.index(slot, &manifest, number).unwrap();
        assert_eq!(index.offset + index.len, start + (1 << 20), "the first index of this slot");
        let other = layout.component(slot, &manifest, 1 - number);
        assert_eq!(other, Err(LayoutError::NothingForSlot));
        layout.check_fit(slot, &manifest).unwrap();
    }
}

#[test]
fn an_area_of_blocks_has_three_or_four_places() {
    let place = |number: u64| region(0, number * 0x1000, 0x1000);
    for count in 0..=6 {
        let places: Vec<_> = (0..count).map(place).collect();
        let found = new(FLASH, &places, SLOTS);
        if (3..=4).contains(&count) {
            assert_eq!(found, Ok(()));
        } else {
            assert_eq!(found, Err(LayoutError::Places(count as usize)));
        }
    }
    assert!(LayoutError::Places(2).to_string().contains("2 places: 3 or 4 are needed"));
}

#[test]
fn an_area_that_is_a_log_has_two_to_four_blocks_and_slots_without_heads() {
    let slots = [{
        let mut changed = SLOTS[0];
        changed.head = None;
        changed
    }];
    let log = |lens: &[u64], slots: &[SlotLayout<'_>]| {
        let mut at = 0;
        let block = |len: &u64| {
            at += len;
            region(0, at - len, *len)
        };
        let blocks: Vec<_> = lens.iter().map(block).collect();
        let area = Area::Log { blocks: &blocks, head_len_max: 4096 };
        Layout::new(FLASH, area, slots).map(|layout| {
            assert!(layout.is_log());
            assert!(layout.part(Slot::A, Part::Trust).is_err(), "nothing there has a fixed place");
        })
    };
    for count in 0..=5 {
        let found = log(&vec![0x4000; count], &slots);
        if (2..=4).contains(&count) {
            assert_eq!(found, Ok(()));
        } else {
            assert_eq!(found, Err(LayoutError::Places(count)));
        }
    }
    // Of unlike lengths, but neither too short nor too long.
    assert_eq!(log(&[0x4000, 0x1000, 0x8000], &slots), Ok(()));
    let flash = [nor(2048, 8 << 20)];
    for (len, sound) in [(2048, false), (4096, true), (1 << 20, true), ((1 << 20) + 2048, false)] {
        let blocks = [region(0, 0, len), region(0, 2 << 20, len)];
        let regions = [SlotRegion { region: region(0, 4 << 20, 1 << 20), roles: &[] }];
        let slots = [SlotLayout::new(slots[0].slot, &regions)];
        let area = Area::Log { blocks: &blocks, head_len_max: 4096 };
        let found = Layout::new(&flash, area, &slots).map(|_| ());
        let unfit = LayoutError::LogBlock { number: 0, len };
        assert_eq!(found, if sound { Ok(()) } else { Err(unfit) }, "{len}");
    }
    // Disks are not erased, and units of 64 bytes leave few entries in a short block.
    let disk = [Geometry::disk(512, 8 << 20)];
    let blocks = [region(0, 0, 4096), region(0, 4096, 4096)];
    let area = Area::Log { blocks: &blocks, head_len_max: 1024 };
    let found = Layout::new(&disk, area, &slots).map(|_| ());
    assert_eq!(found, Err(LayoutError::LogMedium(0)));
    for (granule, found) in
        [(32, Ok(())), (64, Err(LayoutError::LogEntries { needed: 7, available: 6 }))]
    {
        let flash = [Geometry { write_granule_bytes: granule, ..nor(4096, 8 << 20) }];
        assert_eq!(Layout::new(&flash, area, &slots).map(|_| ()), found);
    }
    // Heads and indexes have no place there, and blocks are nothing without heads.
    assert_eq!(log(&[0x4000; 2], SLOTS), Err(LayoutError::Slots));
    let index = Some(region(0, 0x30_0000, 0x1000));
    let with_index = [{
        let mut changed = slots[0];
        changed.index = index;
        changed
    }];
    assert_eq!(log(&[0x4000; 2], &with_index), Err(LayoutError::Slots));
    assert_eq!(new(FLASH, PLACES, &slots), Err(LayoutError::Slots));
}

#[test]
fn what_is_too_small_for_a_copy_of_the_record_or_a_head_is_refused() {
    // On small erase blocks a place is several of them.
    let flash = [nor(512, 4 << 20)];
    for (len, sound) in [(512, false), (1024, false), (1536, true), (2048, true)] {
        let places = [0, 1, 2].map(|number| region(0, number * 2048, len));
        let found = new(&flash, &places, SLOTS);
        let needed = record::LEN_MAX as u64;
        let too_small = LayoutError::Short { number: 0, needed, available: len };
        assert_eq!(found, if sound { Ok(()) } else { Err(too_small) }, "{len}");
    }
    for (len, sound) in [(0x1000, false), (0x2000, false), (0x3000, true), (0x9000, true)] {
        let slots = [SLOTS[0].with_head(region(0, 0x20_0000, len))];
        let too_small = LayoutError::Short { number: 3, needed: 0x3000, available: len };
        let found = new(FLASH, PLACES, &slots);
        assert_eq!(found, if sound { Ok(()) } else { Err(too_small) }, "{len}");
    }
}

/// Any two of: places, head, indexes, regions.
#[test]
fn regions_that_overlap_by_one_block_are_refused_by_their_numbers() {
    let (index, second) = (region(0, 0x30_0000, 0x2000), region(0, 0x31_0000, 0x2000));
    let all = [
        PLACES[0],
        PLACES[1],
        PLACES[2],
        region(0, 0x20_0000, 0x3000),
        index,
        DATA[0].region,
        second,
    ];
    let check = |all: &[Region; 7]| {
        let regions = [
            SlotRegion { region: all[5], roles: &[] },
            SlotRegion { region: all[6], roles: &[Role::Data] },
        ];
        let slots = [SlotLayout::new(Slot::A, &regions).with_head(all[3]).with_index(all[4])];
        new(FLASH, &all[..3], &slots)
    };
    assert_eq!(check(&all), Ok(()));
    for one in 0..all.len() {
        for other in 0..all.len() {
            if one == other {
                continue;
            }
            // The last block of one is the first of the other.
            let mut changed = all;
            changed[one].offset = 0x38_0000;
            changed[other].offset = 0x38_0000 + changed[one].len - 0x1000;
            if changed[other].offset + changed[other].len > 4 << 20 {
                changed[other].len = 0x3000;
            }
            let expected = LayoutError::Overlap(one.min(other), one.max(other));
            if changed[one].len <= 0x8_0000 {
                assert_eq!(check(&changed), Err(expected), "{one} {other}");
            }
            // On another device the same offsets are other bytes.
        }
    }
    // Regions that leave the device, that are nothing, or that do not stand on erase blocks.
    for (number, region) in all.iter().enumerate() {
        for wrong in [
            Region { device: 1, ..*region },
            Region { offset: 4 << 20, ..*region },
            Region { offset: (4 << 20) - region.len + 0x1000, ..*region },
            Region { offset: region.offset + 512, ..*region },
            Region { len: region.len - 512, ..*region },
            Region { len: 0, ..*region },
            Region { offset: u64::MAX - 0xfff, ..*region },
            Region { len: u64::MAX - 0xfff, ..*region },
        ] {
            let mut changed = all;
            changed[number] = wrong;
            assert_eq!(check(&changed), Err(LayoutError::Region(number)), "{wrong:?}");
        }
    }
}

#[test]
fn slots_that_are_doubled_empty_or_cut_up_too_much_are_refused() {
    assert_eq!(new(FLASH, PLACES, &[]), Err(LayoutError::Slots));
    assert_eq!(new(FLASH, PLACES, &[SLOTS[0], SLOTS[0]]), Err(LayoutError::Slots));
    for count in 0..=5 {
        let part = |number: u64| SlotRegion {
            region: region(0, 0x10_0000 + number * 0x1000, 0x1000),
            roles: &[],
        };
        let regions: Vec<_> = (0..count).map(part).collect();
        let slots = [{
            let mut changed = SLOTS[0];
            changed.regions = &regions;
            changed
        }];
        let sound = (1..=4).contains(&count);
        let expected = if sound { Ok(()) } else { Err(LayoutError::Slots) };
        assert_eq!(new(FLASH, PLACES, &slots), expected, "{count}");
    }
    for count in [0, 5] {
        let geometries = vec![FLASH[0]; count];
        assert_eq!(new(&geometries, PLACES, SLOTS), Err(LayoutError::Device));
    }
}

#[test]
fn chunks_smaller_than_a_unit_of_the_device_are_refused() {
    let wide = Geometry {
        logical_block_bytes: 8192,
        write_granule_bytes: 8192,
        erase_block_bytes: 8192,
        capacity_bytes: 4 << 20,
        erased: None,
    };
    let places = [0, 1, 2].map(|number| region(0, number * 8192, 8192));
    let slots = [SLOTS[0].with_head(region(0, 0x20_0000, 3 * 8192))];
    let geometries = [wide];
    let layout = Layout::new(&geometries, Area::Blocks(&places), &slots).unwrap();
    for (chunk_size, sound) in [(4096, false), (8192, true), (1 << 20, true)] {
        let found = layout.check_fit(Slot::A, &of(chunk_size, &[(Role::Kernel, 5000)]));
        let refused = LayoutError::ChunkSize { chunk_size, unit: 8192 };
        assert_eq!(found, if sound { Ok(()) } else { Err(refused) });
    }
}

// Lives on such layouts.

fn bundle(publisher: &Publisher, sequence: u64, len: usize) -> Vec<u8> {
    let (kernel, data) = (content(sequence, len), content(sequence + 100, 900));
    let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
    let pieces = [piece(Role::Kernel, &kernel[..]), piece(Role::Data, &data[..])];
    publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &pieces).unwrap()
}

/// Three releases: each is installed, tried and confirmed, and the record is lost once.
fn live(bench: &mut Bench<'_, RamDisk>, bundles: &[Vec<u8>]) {
    let mut running = None;
    for bundle in bundles {
        let installed = bench.install(bundle, running).unwrap();
        let trial = bench.boot();
        assert_eq!((trial.slot, trial.attempt), (installed.slot, 1));
        bench.perform(Request::MarkGood(trial)).unwrap();
        let good = bench.boot();
        assert_eq!((good.slot, good.attempt), (installed.slot, 0));
        running = Some(good);
    }
    // What stands in the heads is enough to make the record again.
    for place in &bench.places {
        bench.disks[usize::from(place.device)].poke(place.offset, &[0x33; record::LEN_MAX]);
    }
    let good = bench.boot();
    assert_eq!((Some(good.digest), good.attempt), (running.map(|proof| proof.digest), 0));
    // Both slots are good then: what is on the devices verifies to the last byte.
    for slot in [Slot::A, Slot::B] {
        let device = bench.device;
        let verified = bench.with_layout(|layout, disks| {
            use stillboot::verify::SoftSha256;
            let mut buffer = vec![0; 1 << 16];
            stillboot::check::slot::<SoftSha256>(
                &device,
                layout,
                slot,
                disks,
                &mut |_| {},
                &mut buffer,
            )
            .map(|_| ())
        });
        assert_eq!(verified.unwrap(), Ok(()), "{slot}");
    }
}

#[test]
fn a_life_with_record_heads_and_indexes_on_another_device() {
    let publisher = Publisher::new(1);
    let bundles: Vec<_> = (1..4).map(|number| bundle(&publisher, number, 150_000)).collect();
    for (name, components) in media() {
        for (other, metadata) in media() {
            println!("components on {name}, the rest on {other}");
            let block = u64::from(metadata.erase_block_bytes);
            let len = (record::LEN_MAX as u64).next_multiple_of(block);
            let places: Vec<_> = (0..4).map(|at| region(0, at * len, len)).collect();
            let (head, index) = (4 * block, 4096_u64.next_multiple_of(block));
            let index = index + block;
            let slot = |(number, slot): (u64, Slot)| {
                let at = 4 * len + number * (head + index);
                BenchSlot {
                    slot,
                    head: region(0, at, head),
                    index: Some(region(0, at + head, index)),
                    regions: vec![SlotRegion {
                        region: region(1, number * (256 << 10), 256 << 10),
                        roles: &[],
                    }],
                }
            };
            let slots: Vec<_> = (0..).zip([Slot::A, Slot::B]).map(slot).collect();
            let disk = |geometry: Geometry, capacity_bytes| {
                let geometry = Geometry { capacity_bytes, ..geometry };
                RamDisk::new(geometry, geometry.erased.unwrap_or(0))
            };
            let disks =
                vec![disk(metadata, 4 * len + 2 * (head + index)), disk(components, 512 << 10)];
            let mut bench = Bench::new(publisher.device(), places, slots, disks);
            live(&mut bench, &bundles);
            // The image stands at the first byte of its region.
            let kernel = content(3, 150_000);
            assert_eq!(bench.disks[1].bytes(0, kernel.len()), kernel);
        }
    }
}

/// A head with signatures that this build skips is longer than what a loader reads at once. It is
/// read in windows, with the shortest buffer that there may be.
#[test]
fn a_device_boots_from_heads_with_long_signatures_in_the_shortest_buffer() {
    use KeyKind::{HssH10H10, LmsH10, MlDsa87};
    let publisher = Publisher::new(1);
    for kinds in [&[MlDsa87][..], &[LmsH10, HssH10H10, MlDsa87]] {
        let long = |number: u64| {
            let bundle = bundle(&publisher, number, 9000);
            let (keyset, manifest, body) = split(&bundle);
            let more: Vec<_> = kinds.iter().map(|kind| Foreign::new(*kind, number as u8)).collect();
            let head = [with_signatures(keyset, &more), with_signatures(manifest, &more)].concat();
            assert!(head.len() > 14_000 && head.len() <= 24_576, "{}", head.len());
            [head, body.to_vec()].concat()
        };
        let bundles: Vec<_> = (1..4).map(long).collect();
        for (name, geometry) in media() {
            println!("{} bytes in front of {name}", bundles[0].len() - 9900 - 128);
            let block = u64::from(geometry.erase_block_bytes);
            let len = (record::LEN_MAX as u64).next_multiple_of(block);
            let places: Vec<_> = (0..3).map(|at| region(0, at * len, len)).collect();
            let trust = (24_u64 << 10).next_multiple_of(block);
            let slots = Bench::<RamDisk>::pair(0, &geometry, 3 * len, 128 << 10, trust);
            let end = slots.last().map_or(0, |slot| slot.head.offset + slot.head.len);
            let geometry = Geometry { capacity_bytes: end, ..geometry };
            let disks = vec![RamDisk::new(geometry, geometry.erased.unwrap_or(0))];
            let mut bench = Bench::new(publisher.device(), places, slots, disks);
            bench
                .with_layout(|layout, _| {
                    use stillboot::boot::Boot;
                    let len = Boot::<stillboot::verify::SoftSha256>::buffer_len_min(layout);
                    assert!(len <= 8192 && layout.head_len_max() == 24 << 10, "{len}");
                })
                .unwrap();
            live(&mut bench, &bundles);
        }
    }
}
