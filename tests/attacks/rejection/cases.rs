//! The table itself.

use stillboot::format::{
    Architecture, Encryption, Epochs, KeyRole, Load, PayloadType, Risk, Role, SlotKind,
};
use stillboot_release::keys::{Signer, sign_envelope};
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{payload, raw, signed_as, split, with_manifest};

use super::{Case, FORMS, Form, NOW, RUNNING, Stage, Vendor, bundle, failed, sound};

/// What is done to a manifest.
type Forgery<'a> = &'a dyn Fn(&mut stillboot::format::Manifest);

fn head(
    name: &'static str,
    bundle: Vec<u8>,
    says: &'static str,
    boot_says: &'static str,
    in_file: bool,
    on_new_device: bool,
) -> Case {
    Case { name, bundle, stage: Stage::Head, says, boot_says, in_file, on_new_device }
}

/// What keysets can be wrong in.
fn keyset_cases(vendor: &Vendor) -> Vec<Case> {
    let publisher = &vendor.publisher;
    let product = publisher.device().product;
    let good = sound(vendor);
    let (keyset, manifest, body) = split(&good);
    let trust = "Refused(Trust(";
    let other_keyset = |role, signer: &dyn Signer| {
        let bytes = raw_keyset(publisher);
        let signers = [(role, signer)];
        let keyset = sign_envelope(PayloadType::Keyset, &product, &bytes, &signers).unwrap();
        [&keyset, manifest, body].concat()
    };
    let mut cases = vec![
        head("no keyset", [manifest, body].concat(), trust, "Trust(", true, true),
        head("nothing but keysets", [keyset, keyset, body].concat(), trust, "Trust(", true, true),
    ];
    for (name, role) in [
        ("keyset by the release key", KeyRole::Root),
        ("keyset by the release key as such", KeyRole::Release),
    ] {
        cases.push(head(
            name,
            other_keyset(role, &publisher.release),
            "Refused(Trust(KeysetSignature(Missing",
            "Trust(KeysetSignature(",
            true,
            true,
        ));
    }
    for (name, len) in
        [("cut in the keyset", keyset.len() - 1), ("cut after the keyset", keyset.len())]
    {
        cases.push(head(name, good[..len].to_vec(), "Refused(Ended", "Trust(", true, true));
    }
    cases
}

/// What comes with a keyset to a device that knows none.
fn single_key_cases(vendor: &Vendor) -> Vec<Case> {
    let good = sound(vendor);
    let with_keyset = sound(&Vendor::new(1, Form::Keysets));
    let (keyset, ..) = split(&with_keyset);
    let trust = "Refused(Trust(";
    vec![
        head("keyset in front", [keyset, &good].concat(), trust, "Trust(", true, true),
        head("nothing but a keyset", keyset.to_vec(), trust, "Trust(", true, true),
    ]
}

// Long because it is a table: a row for each way in which a bundle is bad.
pub(super) fn cases(vendor: &Vendor) -> Vec<Case> {
    let (form, publisher) = (vendor.form, &vendor.publisher);
    let stranger = Vendor::new(2, form);
    let good = sound(vendor);
    let (keyset, manifest, body) = split(&good);
    let with =
        |change: &dyn Fn(&mut stillboot::format::Manifest)| with_manifest(publisher, &good, change);
    let by = |role, signer: &dyn Signer| signed_as(publisher, &good, &payload(&good), role, signer);
    let zeroed = {
        let mut bytes = good.clone();
        bytes[keyset.len() + 48 + 33..keyset.len() + 48 + 33 + 64].fill(0);
        bytes
    };
    let uncounted = {
        let mut bytes = good.clone();
        bytes[keyset.len() + 6] = 0;
        bytes
    };
    let for_product = {
        let signers: [(_, &dyn Signer); 1] = [(KeyRole::Release, &publisher.release)];
        let payload = payload(&good);
        let envelope = sign_envelope(PayloadType::Manifest, &[9; 16], &payload, &signers).unwrap();
        [keyset, &envelope, body].concat()
    };
    let big = {
        let bytes = content(1, 200 << 10);
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
        let mut manifest = publisher.manifest(9);
        manifest.level = RUNNING.1;
        vendor.fit(publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap())
    };
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cut = |len: usize| good[..len].to_vec();
    let start = keyset.len() + manifest.len();
    let trust = "Refused(Trust(";
    // Whose signature is not that of a stranger, and what an edge release is: by form.
    let (stranger_says, stranger_boot, edge_says, edge_boot) = match form {
        Form::Keysets => (
            "Refused(Trust(KeysetSignature(",
            "Trust(KeysetSignature(",
            "Refused(Trust(EdgeOnly",
            "Trust(EdgeOnly",
        ),
        Form::SingleKey => (
            "Refused(Trust(ManifestSignature(",
            "Trust(ManifestSignature(",
            "Refused(Trust(ManifestSignature(",
            "Trust(ManifestSignature(",
        ),
    };
    let mut cases = match form {
        Form::Keysets => keyset_cases(vendor),
        Form::SingleKey => single_key_cases(vendor),
    };
    cases.extend([
        // Who signed.
        head("manifest without signature", uncounted, trust, "Trust(Manifest(", true, true),
        head("signature of zeros", zeroed, trust, "Trust(ManifestSignature(", true, true),
        head("by a stranger", sound(&stranger), stranger_says, stranger_boot, true, true),
        head(
            "manifest by the recovery key",
            by(KeyRole::Recovery, &publisher.recovery),
            "Refused(Trust(ManifestSignature(",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "manifest by the recovery key as release",
            by(KeyRole::Release, &publisher.recovery),
            "Refused(Trust(ManifestSignature(Missing",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "manifest by the release key as channel",
            by(KeyRole::Channel, &publisher.release),
            "Refused(Trust(ManifestSignature(Wrong",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "stable by the edge key",
            by(KeyRole::EdgeRelease, &publisher.edge),
            edge_says,
            edge_boot,
            true,
            true,
        ),
        head(
            "signed for another product",
            for_product,
            "Refused(Trust(ManifestSignature(Wrong",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "names another product",
            with(&|m| m.product = [9; 16]),
            "Refused(Trust(WrongProduct",
            "Trust(WrongProduct",
            true,
            true,
        ),
        // For which device.
        head(
            "other class",
            with(&|m| m.class[15] ^= 1),
            "Refused(Class(Class",
            "Class(Class",
            false,
            true,
        ),
        head(
            "revision too new",
            with(&|m| (m.revision_min, m.revision_max) = (2, 9)),
            "Refused(Class(Revision",
            "Class(Revision",
            false,
            true,
        ),
        head(
            "revision too old",
            with(&|m| (m.revision_min, m.revision_max) = (0, 0)),
            "Refused(Class(Revision",
            "Class(Revision",
            false,
            true,
        ),
        head(
            "other architecture",
            with(&|m| m.architecture = Architecture::Aarch64),
            "Refused(Class(Architecture",
            "Class(Architecture",
            false,
            true,
        ),
        // How new.
        head("older", bundle(vendor, 4, 5), "Refused(NotNewer", "", false, false),
        head(
            "as new, but another",
            with(&|m| m.sequence = 5),
            "Refused(NotNewer",
            "",
            false,
            false,
        ),
        head(
            "below the floor",
            with(&|m| m.level = 4),
            "Refused(BelowFloor",
            "BelowStoreFloor",
            false,
            false,
        ),
        head(
            "far above the floor",
            with(&|m| m.level = 5 + (1 << 16) + 1),
            "Refused(FloorJump",
            "",
            false,
            true,
        ),
        head(
            "last sequence of all",
            with(&|m| m.sequence = u64::MAX),
            "Refused(Trust(Manifest(Bounds(Sequence",
            "Trust(Manifest(",
            true,
            true,
        ),
        // Where to.
        head(
            "for another slot alone",
            with(&|m| m.components.iter_mut().for_each(|c| c.linked = 3)),
            "Refused(Layout(NothingForSlot",
            "Layout(NothingForSlot",
            false,
            true,
        ),
        head("too big", big, "Refused(Layout(TooSmall", "Layout(TooSmall", false, true),
        head(
            "chunks beyond the buffer",
            with(&|m| m.chunk_size = 1 << 20),
            "Refused(Layout(Buffer",
            "",
            true,
            true,
        ),
        // Which data.
        head(
            "cannot read the data",
            with(&|m| m.epochs = Epochs { reads_min: 1, reads_max: 2, writes: 1 }),
            "Refused(CannotReadData",
            "",
            false,
            false,
        ),
        head(
            "no way back",
            with(&|m| m.epochs = Epochs { reads_min: 0, reads_max: 2, writes: 1 }),
            "Refused(FallbackCannotRead",
            "",
            false,
            false,
        ),
        // What the operator wants.
        head(
            "expired",
            with(&|m| m.not_after = NOW - 1),
            "Refused(Policy(Expired",
            "",
            false,
            true,
        ),
        head(
            "of another risk",
            with(&|m| m.channel.risk = Risk::Candidate),
            "Refused(Policy(Channel",
            "",
            false,
            true,
        ),
        head(
            "of another track",
            with(&|m| m.channel.track = "5.0".chars().collect()),
            "Refused(Policy(Channel",
            "",
            false,
            true,
        ),
        head(
            "a version between is missing",
            with(&|m| m.min_from = "5.0.1".chars().collect()),
            "Refused(Policy(TooOld",
            "",
            false,
            false,
        ),
        head("failed here", failed(vendor), "Refused(Policy(FailedBefore", "", false, false),
        head(
            "rolled out to no device yet",
            with(&|m| m.rollout = 0),
            "Deferred(Policy(Rollout",
            "",
            false,
            true,
        ),
    ]);
    // What no release key may sign for.
    cases.push(head(
        "with a loader",
        with(&|m| m.components[1].role = Role::Loader),
        "Refused(Trust(LoaderRole",
        "Trust(LoaderRole",
        true,
        true,
    ));
    // What this build does not know.
    let unknown: [(_, Forgery<'_>); 9] = [
        ("unknown role", &|m| m.components[0].role = Role::Unknown(10)),
        ("unknown load class", &|m| m.components[0].load = Load::Unknown(3)),
        ("encrypted", &|m| m.components[0].encryption = Encryption::Aes256Ctr),
        ("unknown slot", &|m| m.components[0].linked = 5),
        ("unknown flag", &|m| m.flags = 1 << 2),
        ("unknown risk", &|m| m.channel.risk = Risk::Unknown(4)),
        ("unknown architecture", &|m| m.architecture = Architecture::Unknown(99)),
        ("unknown schema", &|m| m.schema = 2),
        ("the same role twice", &|m| m.components[1].role = m.components[0].role),
    ];
    for (name, change) in unknown {
        let bundle = with(change);
        cases.push(head(name, bundle, "Refused(Trust(Manifest(", "Trust(Manifest(", true, true));
    }
    // Where it ends.
    for (name, len) in
        [("empty", 0), ("cut in the first header", 47), ("cut in the manifest", start - 1)]
    {
        cases.push(head(name, cut(len), "Refused(Ended", "Trust(", true, true));
    }
    let mut in_body = |name, bundle, says, boot_says| {
        let stage = Stage::Body;
        let (in_file, on_new_device) = (true, true);
        cases.push(Case { name, bundle, stage, says, boot_says, in_file, on_new_device });
    };
    let crossed = {
        let other = bundle(vendor, 10, 5);
        let (_, _, other) = split(&other);
        [keyset, manifest, other].concat()
    };
    in_body("cut before the index", cut(start), "Refused(Ended", "Corrupt");
    in_body("cut in the index", cut(start + 33), "Refused(Ended", "Corrupt");
    in_body("cut after the index", cut(start + 96), "Refused(Ended", "Corrupt");
    in_body("cut in a chunk", cut(start + 96 + 5000), "Refused(Ended", "Corrupt");
    in_body("cut before the last byte", cut(good.len() - 1), "Refused(Ended", "Corrupt");
    in_body("one byte more", [&good[..], &[0]].concat(), "Refused(Trailing", "");
    in_body("one block more", [&good[..], &[0; 4096]].concat(), "Refused(Trailing", "");
    in_body("changed index", flipped(start + 40), "Refused(Content { component: 0 }", "");
    in_body("changed chunk", flipped(start + 100), "Refused(Content { component: 0 }", "Corrupt");
    in_body(
        "changed last byte",
        flipped(good.len() - 1),
        "Refused(Content { component: 1 }",
        "Corrupt",
    );
    in_body("parts of another release", crossed, "Refused(Content { component: 0 }", "Corrupt");
    in_body(
        "digests of zeros",
        with(&|m| m.components.iter_mut().for_each(|c| c.index_root = [0; 32])),
        "Refused(Content { component: 0 }",
        "Corrupt",
    );
    cases
}

fn raw_keyset(publisher: &Publisher) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let len = publisher.keyset().emit(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// The suite stands on the manifest bytes being what the tools would sign.
#[test]
fn forged_bundles_differ_from_sound_ones_only_where_they_should() {
    for form in FORMS {
        let vendor = Vendor::new(1, form);
        let good = sound(&vendor);
        assert_eq!(with_manifest(&vendor.publisher, &good, |_| {}), good);
        let manifest = stillboot::format::Manifest::parse(&payload(&good)).unwrap();
        assert_eq!(raw(&manifest), payload(&good));
    }
}
