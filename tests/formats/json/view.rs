//! The JSON view of a manifest.

use stillboot::format::manifest::{self, COMPONENTS_MAX};
use stillboot::format::{
    Architecture, Channel, Component, Encryption, Epochs, Load, Manifest, Risk, Role,
};
use stillboot_policy::json::view::VIEW_LEN_MAX;
use stillboot_policy::json::view_manifest;

#[test]
fn view_of_the_longest_manifest_has_room() {
    let component = |role, linked| Component {
        role,
        load: Load::Late,
        linked,
        encryption: Encryption::None,
        length: 1,
        index_root: [0xff; 32],
        sha256: [0xff; 32],
    };
    let roles = &Role::ALL[..COMPONENTS_MAX];
    let mut manifest = Manifest {
        schema: manifest::SCHEMA,
        product: [0xff; 16],
        class: [0xff; 16],
        revision_min: u16::MAX,
        revision_max: u16::MAX,
        version: "1".repeat(32).parse().unwrap(),
        sequence: u64::MAX - 1,
        level: u32::MAX - 1,
        min_from: "1".repeat(32).parse().unwrap(),
        channel: Channel {
            track: "t".repeat(16).parse().unwrap(),
            risk: Risk::Candidate,
            branch: "b".repeat(16).parse().unwrap(),
        },
        architecture: Architecture::Thumbv7em,
        not_after: u64::MAX,
        epochs: Epochs { reads_min: u16::MAX, reads_max: u16::MAX, writes: u16::MAX },
        rollout: 100,
        flags: manifest::flags::KNOWN,
        chunk_size: 1 << 20,
        components: roles.iter().map(|role| component(*role, 4)).collect(),
    };
    for component in &mut manifest.components {
        component.length = manifest::COMPONENT_LEN_MAX;
    }
    let mut room = [0; VIEW_LEN_MAX];
    let len = view_manifest(&manifest, &mut room).unwrap();
    assert!(len < VIEW_LEN_MAX && room.starts_with(b"{\"schema\":1,\"product\":\"ffffffff-ffff-"));
    assert!(view_manifest(&manifest, &mut room[..len - 1]).is_err());
    // Nothing that installs takes it for a manifest.
    assert!(Manifest::parse(&room[..len]).is_err());
}
