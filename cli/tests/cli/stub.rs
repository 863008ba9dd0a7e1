//! Images for UEFI that carry a bundle. The stories in QEMU test that they start.

use crate::support::{TRUST, World};

/// A PE image of 64 bits without sections, with room for one.
fn stub() -> Vec<u8> {
    const HEADERS: usize = 0x40;
    const OPTIONAL: usize = HEADERS + 24;
    let mut image = vec![0; 0x200];
    for (at, bytes) in [
        (0, &b"MZ"[..]),
        (0x3c, &[HEADERS as u8]),
        (HEADERS, b"PE\0\0\x64\xaa"),
        (HEADERS + 20, &[240]),
        // PE32+, then the alignments, the lengths of image and headers, and the table's.
        (OPTIONAL, &[0x0b, 2]),
        (OPTIONAL + 32, &0x1000_u32.to_le_bytes()),
        (OPTIONAL + 36, &0x200_u32.to_le_bytes()),
        (OPTIONAL + 56, &0x1000_u32.to_le_bytes()),
        (OPTIONAL + 60, &0x200_u32.to_le_bytes()),
        (OPTIONAL + 108, &[16]),
    ] {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    image
}

/// A world with a stub and a bundle for arm64.
fn world() -> World {
    let world = World::new();
    world.write("stub.efi", stub());
    world.write("kernel", [7; 5000]);
    world.pack(1, "--kernel kernel --architecture aarch64").expect(0);
    world
}

fn build(world: &World, bundle: &str) -> crate::support::Run {
    world.run(&format!(
        "stub build {bundle} --stub stub.efi {TRUST} --arch aarch64 --out out.efi --json"
    ))
}

#[test]
fn an_image_is_the_stub_with_the_bundle_behind_it() {
    let world = world();
    let built = build(&world, "v1.sbb").expect(0).json();
    let (image, bundle) = (world.read("out.efi"), world.read("v1.sbb"));
    assert_eq!(built["bytes"], image.len(), "{built}");
    assert_eq!(built["stub_bytes"], 0x200, "{built}");
    assert_eq!(image[0x200..][..bundle.len()], bundle);
    // Built twice it is the same, and wrapped twice it is refused.
    build(&world, "v1.sbb").expect(0);
    assert_eq!(world.read("out.efi"), image);
    world.write("stub.efi", &image);
    build(&world, "v1.sbb").refused(4, "stub");
}

#[test]
fn what_the_stub_would_refuse_is_not_wrapped() {
    let world = world();
    let mut damaged = world.read("v1.sbb");
    *damaged.last_mut().unwrap() ^= 1;
    world.write("damaged.sbb", damaged);
    assert_eq!(build(&world, "damaged.sbb").expect(4).json()["exit"], 4);
    world.pack(2, "--kernel kernel --architecture x86_64").expect(0);
    assert_eq!(build(&world, "v2.sbb").expect(4).json()["exit"], 4);
    world.write("data", [1; 100]);
    world.pack(3, "--data data --force --architecture aarch64").expect(0);
    build(&world, "v3.sbb").refused(4, "stub");
    world.write("stub.efi", "#!/bin/sh");
    build(&world, "v1.sbb").refused(4, "stub");
    assert!(!world.path("out.efi").exists());
}
