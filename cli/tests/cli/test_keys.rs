//! The bundle under `tests/data/test-keys` is signed with keys that are public. Debug builds take
//! it, as here; `cargo xtask test-keys` shows that release builds refuse it.

use std::path::{Path, PathBuf};

use stillboot::format::{Key, KeyKind, KeyRole, Keyset, Load, Role, Rule, keyset};
use stillboot::verify::RootKey;
use stillboot_release::bundle::{self, Part};
use stillboot_release::keys::{Roots, Signer, SigningKey};

use crate::support::World;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/test-keys")
}

/// The files' bytes, built again.
fn make() -> (String, Vec<u8>) {
    let (root, release) = (SigningKey::test(1), SigningKey::test(2));
    let roots = Roots::new("test", 1, [RootKey::ed25519(root.public())]);
    let keyset = Keyset {
        schema: keyset::SCHEMA,
        version: 1,
        rules: std::array::from_fn(|at| Rule::ed25519(u8::from(at == 0))),
        keys: std::iter::once(Key {
            kind: KeyKind::Ed25519,
            name: release.public(),
            roles: KeyRole::Release.bit(),
        })
        .collect(),
    };
    let signed = bundle::sign_keyset(&keyset, &roots.product_id(), &[&root]).unwrap();
    let mut manifest = stillboot_sim::Publisher::new(1).manifest(1);
    manifest.product = roots.product_id();
    manifest.class = stillboot_release::keys::id_of("test");
    manifest.revision_min = 0;
    let input = Box::new(std::io::Cursor::new(b"no kernel at all"));
    let mut parts = [Part::new(Role::Kernel, Load::Ram, input)];
    let mut out = Vec::new();
    let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Release, &release)];
    bundle::write(manifest, &signed, &signers, &mut parts, &mut out, &mut |_| {}).unwrap();
    (roots.to_toml().unwrap(), out)
}

#[test]
fn debug_builds_take_test_keys_and_the_files_are_what_makes_them() {
    let (roots, bundle) = make();
    let folder = folder();
    if std::env::var_os("STILLBOOT_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("roots.toml"), &roots).unwrap();
        std::fs::write(folder.join("bundle.sbb"), &bundle).unwrap();
    }
    assert_eq!(std::fs::read_to_string(folder.join("roots.toml")).unwrap(), roots);
    assert!(std::fs::read(folder.join("bundle.sbb")).unwrap() == bundle);
    let world = World::new();
    let (roots, bundle) = (folder.join("roots.toml"), folder.join("bundle.sbb"));
    let verify = ["verify", bundle.to_str().unwrap(), "--roots", roots.to_str().unwrap()];
    let code = if cfg!(debug_assertions) { 0 } else { 4 };
    world.run_exact(&verify).expect(code);
}
