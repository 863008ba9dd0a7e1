//! Inputs to start the search from, made by the code that writes the real ones.

use stillboot::format::{Envelope, Floor, Manifest, SlotKind, StatementKind};
use stillboot::verify::{SoftSha256, verify_head};
use stillboot_release::keys::{Roots, Signer as _, public_to_pem};

use super::{CANARY, devices, files, machines, scenario, transport};
use crate::release::Publisher;

/// A private key that signs nothing, as OpenSSL writes it: RFC 8410, section 10.3.
const SECRET_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// Inputs to start the search from, for the target called `name`.
#[must_use]
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    for own in [machines::seeds(name), transport::seeds(name)] {
        if !own.is_empty() {
            return own;
        }
    }
    let kinds: &[&str] = match name {
        "files" => &["files", "proof"],
        "json" => &["view", "index", "latest"],
        _ => &[name],
    };
    kinds.iter().flat_map(|kind| of_kind(kind)).collect()
}

fn of_kind(kind: &str) -> Vec<Vec<u8>> {
    let publisher = Publisher::new(1);
    let bundle = publisher.simple(1, SlotKind::Update).unwrap_or_default();
    let device = publisher.device();
    let head_len =
        verify_head::<SoftSha256>(&device, SlotKind::Update, &bundle).map_or(0, |(_, len)| len);
    let payload = |at: usize| {
        let mut rest = &bundle[..head_len];
        let mut found = Vec::new();
        for _ in 0..=at {
            if let Ok((envelope, after)) = Envelope::parse(rest) {
                found = envelope.payload().to_vec();
                rest = after;
            }
        }
        found
    };
    match kind {
        // Not what the canary looks for: that is to be found.
        "canary" => {
            assert!(!payload(0).starts_with(&CANARY));
            vec![bundle[..head_len].to_vec()]
        }
        "envelope" => vec![bundle[..head_len].to_vec()],
        "keyset" => vec![payload(0)],
        "manifest" => vec![payload(1)],
        "statement" => [StatementKind::Channel, StatementKind::Approval]
            .into_iter()
            .filter_map(|kind| publisher.statement(kind, [1; 32], |_| {}).ok())
            .filter_map(|bytes| {
                Envelope::parse(&bytes).ok().map(|(envelope, _)| envelope.payload().to_vec())
            })
            .collect(),
        "record" => {
            let mut world = devices::small(&publisher);
            let _ = world.install(&bundle, None);
            let region = world.ground.record(0);
            vec![world.disks[0].bytes(region.offset, 400)]
        }
        "text" => texts(),
        "proof" => [
            &b"ro quiet stillboot.proof=1:a:0011 root=/dev/sda2"[..],
            b"ro \"stillboot.proof=1 2\" x=\"y z\"",
            b"\x06\0\0\x001:a:0011\0",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "loader" => {
            let floor = Floor { keyset_version: 3, level: 0x0102_0304 };
            let line = b"console=ttyS0 root=\"/dev/my disk\" quiet -- single\n";
            vec![stillboot_boot_support::floor::emit(floor).to_vec(), line.to_vec()]
        }
        "view" => {
            let json = Manifest::parse(&payload(1)).map(|found| serde_json::to_vec(&found));
            vec![payload(1), json.map(Result::unwrap_or_default).unwrap_or_default()]
        }
        "index" => indexes(),
        "latest" => latest(),
        "files" => {
            let public = publisher.release.public();
            let roots = Roots::new("p", 1, [stillboot::verify::RootKey::ed25519(public)]);
            let mut all = vec![
                roots.to_toml().unwrap_or_default().into_bytes(),
                public_to_pem(&public).into_bytes(),
                SECRET_PEM.as_bytes().to_vec(),
            ];
            all.extend(publisher.statement(StatementKind::Channel, [1; 32], |_| {}));
            all
        }
        "table" => {
            let mib = 1 << 20;
            // All of the smallest disk.
            let (a, b) = (("stillboot-a", mib / 2), ("stillboot-b", mib / 2));
            let names = [("stillboot-record", 3 * mib), a, b];
            // Mended: as the primary, as the backup, as both, with either size of a block.
            [0x58, 0x68, 0x78, 0x59].map(|shape| files::table_seed(shape, &names)).to_vec()
        }
        "scenario" => scenario::seeds(),
        "install" => vec![vec![], vec![5, 0, 0], vec![0, 4, 1, 9, 9, 2]],
        "slot" => devices::slot_seeds(),
        _ => Vec::new(),
    }
}

/// Texts of the policy: windows, a channel, a rule, a version, a digest.
fn texts() -> Vec<Vec<u8>> {
    [
        "mon-fri,02:00-05:00/3+01:00; sat,22:00~04:00",
        "latest/edge/fix",
        ">=1.2.0,<2.0.0",
        "1.2.3-rc.1+build.5",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

/// Channel indexes with no offer, one and two.
fn indexes() -> Vec<Vec<u8>> {
    let digest = "ab".repeat(32);
    let offer = |risk: &str| {
        format!(
            "{{\"risk\":\"{risk}\",\"branch\":\"\",\"digest\":\"{digest}\",\
             \"version\":\"1.2.3-rc.1+b\",\"size\":4096,\
             \"url\":\"https://example.org/a?x=1&y=2#z\",\"since\":1,\"until\":0}}"
        )
    };
    [String::new(), offer("stable"), [offer("beta"), offer("edge")].join(",")]
        .iter()
        .map(|offers| {
            let product = "6578616d706c65206761746577617900";
            format!(
                "{{\"schema\":1,\"product\":\"{product}\",\"track\":\"latest\",\
                 \"issue\":7,\"until\":0,\"offers\":[{offers}],\"patches\":[\
                 {{\"from\":\"{0}\",\"to\":\"{digest}\",\"size\":512,\
                 \"url\":\"https://example.org/p.sbd\"}}]}}",
                "cd".repeat(32)
            )
        })
        .map(String::into_bytes)
        .collect()
}

/// `latest.json` with the least and with all fields.
fn latest() -> Vec<Vec<u8>> {
    [
        "",
        ",\"channel\":\"beta\",\"min_compatible_version\":\"1.2.0\",\
         \"architecture\":\"arm64\",\"vmlinuz_sig_url\":\"https://example.org/s\",\
         \"release_date\":\"2026-01-01\",\"release_notes\":\"none\"",
    ]
    .iter()
    .map(|more| {
        format!(
            "{{\n  \"version\": \"v1.4.0\",\n  \
             \"vmlinuz_url\": \"https://example.org/k\",\n  \
             \"vmlinuz_sha256\": \"{0}\",\n  \
             \"initramfs_url\": \"http://example.org/i\",\n  \
             \"initramfs_sha256\": \"{0}\"{more}\n}}\n",
            "1f".repeat(32)
        )
        .into_bytes()
    })
    .collect()
}
