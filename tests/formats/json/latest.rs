//! `latest.json`: what is read, and a test for every hole that is closed.

use std::fmt::Write as _;

use stillboot::format::{Architecture, Risk};
use stillboot::verify::SoftSha256;
use stillboot_policy::json::latest::{DOCUMENT_LEN_MAX, key_from_hex};
use stillboot_policy::json::{Latest, LatestError, TextFault};
use stillboot_release::keys::{Signer as _, SigningKey};

use super::{publisher, release, signed};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A document with `more` after its mandatory fields.
fn document_with(more: &str) -> String {
    format!(
        "{{\n  \"version\": \"v1.4.0\",\n  \"vmlinuz_url\": \"https://example.org/vmlinuz\",\n  \
         \"vmlinuz_sha256\": \"{}\",\n  \"initramfs_url\": \"http://example.org/os.gz\",\n  \
         \"initramfs_sha256\": \"{}\"{more}\n}}\n",
        hex(&[1; 32]),
        hex(&[2; 32])
    )
}

fn document() -> String {
    document_with("")
}

fn replaced(
    from: &str,
    to: &str,
) -> Result<(String, String, Architecture, Option<Risk>), LatestError> {
    let text = document();
    assert!(text.contains(from), "{from}");
    release(&text.replacen(from, to, 1))
}

#[test]
fn latest_is_read_with_all_fields() {
    let text = document_with(
        ",\n\t\"vmlinuz_sig_url\": \"https://example.org/vmlinuz.sig\", \"initramfs_sig_url\": \"\",\
         \"metadata_sig_url\": \"https://example.org/latest.json.sig\",\
         \"release_notes\": \"Fixes [a], {b}: c\", \"release_date\": \"2026-01-01\",\
         \"channel\": \"beta\", \"min_compatible_version\": \"v1.2.0-rc1\",\
         \"architecture\": \"arm64\"",
    );
    let (signature, key) = signed(text.as_bytes());
    let latest = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key).unwrap();
    assert_eq!(latest.version(), "1.4.0");
    assert_eq!(latest.kernel().url, "https://example.org/vmlinuz");
    assert_eq!(latest.kernel().sha256, [1; 32]);
    assert_eq!(latest.kernel().signature_url, "https://example.org/vmlinuz.sig");
    assert_eq!(latest.initramfs().url, "http://example.org/os.gz");
    assert_eq!(latest.initramfs().sha256, [2; 32]);
    assert_eq!(latest.initramfs().signature_url, "");
    assert_eq!((latest.channel(), latest.risk()), ("beta", Some(Risk::Beta)));
    assert_eq!(latest.min_from(), "1.2.0-0");
    assert_eq!(latest.architecture(), Architecture::Aarch64);
    assert_eq!(latest.release_notes(), "Fixes [a], {b}: c");
    assert_eq!(latest.release_date(), "2026-01-01");
}

#[test]
fn latest_without_constraints_is_for_everybody() {
    let expected = ("1.4.0".into(), String::new(), Architecture::Any, Some(Risk::Stable));
    assert_eq!(release(&document()), Ok(expected.clone()));
    // Without the newline, and on one line.
    assert_eq!(release(document().trim_end()), Ok(expected.clone()));
    assert_eq!(release(&document().replace(['\n', ' '], "")), Ok(expected));
}

#[test]
fn latest_maps_architectures_and_channels() {
    for (name, architecture) in [
        ("amd64", Architecture::X86_64),
        ("arm64", Architecture::Aarch64),
        ("arm", Architecture::Armv7),
        ("riscv64", Architecture::Riscv64),
    ] {
        let text = document_with(&format!(",\"architecture\":\"{name}\""));
        assert_eq!(release(&text).unwrap().2, architecture);
    }
    for name in ["x86_64", "AMD64", "386", "amd64 "] {
        let text = document_with(&format!(",\"architecture\":\"{name}\""));
        assert_eq!(release(&text), Err(LatestError::Architecture), "{name}");
    }
    for (name, risk) in [("stable", Some(Risk::Stable)), ("edge", Some(Risk::Edge)), ("lts", None)]
    {
        let text = document_with(&format!(",\"channel\":\"{name}\""));
        assert_eq!(release(&text).unwrap().3, risk);
    }
    let text = document_with(",\"channel\":\"a/b\"");
    assert_eq!(release(&text), Err(LatestError::Channel));
}

#[test]
fn latest_hole_missing_signature() {
    let (text, key) = (document(), publisher().public());
    let check = |signature: &[u8]| {
        Latest::verify::<SoftSha256>(text.as_bytes(), signature, &key).map(|_| ())
    };
    for (signature, found) in
        [(&b""[..], 0), (b"\n", 1), (&[0; 63], 63), (&[0; 65], 65), (&[b'x'; 128], 128)]
    {
        assert_eq!(check(signature), Err(LatestError::SignatureForm { found }));
    }
}

#[test]
fn latest_hole_signature_in_hex_raw_or_with_a_newline() {
    let text = document();
    let (signature, key) = signed(text.as_bytes());
    let check = |signature: &[u8]| {
        Latest::verify::<SoftSha256>(text.as_bytes(), signature, &key).map(|_| ())
    };
    let digits = hex(&signature);
    check(&signature).unwrap();
    check(digits.as_bytes()).unwrap();
    check(digits.to_uppercase().as_bytes()).unwrap();
    check(format!("{digits}\n").as_bytes()).unwrap();
    for wrong in [
        format!("{digits}\n\n"),
        format!(" {digits}"),
        format!("{digits}00"),
        digits[..126].to_owned(),
        format!("0x{}", &digits[2..]),
    ] {
        let expected = Err(LatestError::SignatureForm { found: wrong.len() });
        assert_eq!(check(wrong.as_bytes()), expected, "{wrong}");
    }
    let mut raw = signature.to_vec();
    raw.push(b'\n');
    assert_eq!(check(&raw), Err(LatestError::SignatureForm { found: 65 }));
}

#[test]
fn latest_hole_key_of_another_form() {
    let key = publisher().public();
    let digits = hex(&key);
    assert_eq!(key_from_hex(digits.as_bytes()), Ok(key));
    assert_eq!(key_from_hex(format!("{digits}\n").as_bytes()), Ok(key));
    for wrong in ["", &digits[..62], &format!("{digits}00"), &format!(" {digits}"), &"g".repeat(64)]
    {
        let expected = Err(LatestError::KeyForm { found: wrong.len() });
        assert_eq!(key_from_hex(wrong.as_bytes()), expected);
    }
}

#[test]
fn latest_hole_key_that_accepts_anything() {
    let text = document();
    // The neutral point and the zero string: keys of small order.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for key in [neutral, [0; 32]] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&neutral);
        let result = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key);
        assert_eq!(result.map(|_| ()), Err(LatestError::WeakKey));
    }
}

#[test]
fn latest_hole_signed_by_somebody_else() {
    let text = document();
    let stranger = SigningKey::from_seed([8; 32]);
    let signature = stranger.sign(text.as_bytes()).unwrap();
    let result = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &publisher().public());
    assert_eq!(result.map(|_| ()), Err(LatestError::Signature));
}

#[test]
fn latest_hole_old_signature_under_a_new_version() {
    let text = document();
    let (signature, key) = signed(text.as_bytes());
    for changed in [
        text.replace("v1.4.0", "v9.9.9"),
        text.replace("0101", "0202"),
        text.replace("https://example.org", "https://example.com"),
        text.trim_end().to_owned(),
        format!("{text} "),
        text.replacen("  ", " ", 1),
    ] {
        assert_ne!(changed, text);
        let result = Latest::verify::<SoftSha256>(changed.as_bytes(), &signature, &key);
        assert_eq!(result.map(|_| ()), Err(LatestError::Signature), "{changed}");
    }
}

#[test]
fn latest_hole_signature_is_checked_before_anything_is_parsed() {
    // Of two faults the signature is the one that is reported.
    for text in ["", "{", "not json", "{\"more\":1}"] {
        let result = Latest::verify::<SoftSha256>(text.as_bytes(), &[1; 64], &publisher().public());
        let told = matches!(result, Err(LatestError::Signature));
        assert!(told, "{text}: {result:?}");
    }
}

#[test]
fn latest_hole_empty_hash() {
    for (from, field) in [(hex(&[1; 32]), "vmlinuz_sha256"), (hex(&[2; 32]), "initramfs_sha256")] {
        assert_eq!(replaced(&from, ""), Err(LatestError::Missing(field)));
    }
}

#[test]
fn latest_hole_missing_hash() {
    let line = format!("\"vmlinuz_sha256\": \"{}\",", hex(&[1; 32]));
    assert_eq!(replaced(&line, ""), Err(LatestError::Missing("vmlinuz_sha256")));
    let line = format!(",\n  \"initramfs_sha256\": \"{}\"", hex(&[2; 32]));
    assert_eq!(replaced(&line, ""), Err(LatestError::Missing("initramfs_sha256")));
}

#[test]
fn latest_hole_hash_of_another_form() {
    let hash = hex(&[1; 32]);
    for wrong in [&hash[..62], &hash[..63], &"g".repeat(64), &format!("0x{}", &hash[2..])] {
        assert_eq!(replaced(&hash, wrong), Err(LatestError::Hash("vmlinuz_sha256")), "{wrong}");
    }
    let long = format!("{hash}00");
    let expected = LatestError::TooLong { field: "vmlinuz_sha256", max: 64, found: 66 };
    assert_eq!(replaced(&hash, &long), Err(expected));
}

#[test]
fn latest_hole_missing_version() {
    assert_eq!(replaced("v1.4.0", ""), Err(LatestError::Missing("version")));
    assert_eq!(replaced("\"version\": \"v1.4.0\",", ""), Err(LatestError::Missing("version")));
}

#[test]
fn latest_hole_version_that_is_none() {
    for wrong in
        ["1", "1.4", "vv1.4.0", "v", "1.4.0.1", "01.4.0", "1.4.0-", "latest", "1.4.0 ", "V1.4.0"]
    {
        let error = replaced("v1.4.0", wrong);
        assert!(
            matches!(error, Err(LatestError::Version { field: "version", .. })),
            "{wrong}: {error:?}"
        );
    }
    assert_eq!(replaced("v1.4.0", "1.4.0-rc.1+b7").unwrap().0, "1.4.0-rc.1+b7");
    let text = document_with(",\"min_compatible_version\":\"1.2\"");
    let error = release(&text);
    assert!(matches!(error, Err(LatestError::Version { field: "min_compatible_version", .. })));
}

#[test]
fn latest_hole_unknown_field() {
    for more in [
        ",\"more\":\"x\"",
        ",\"Version\":\"v2.0.0\"",
        ",\"version \":\"v2.0.0\"",
        ",\"more\":{\"a\":[1]}",
        ",\"more\":!! not json",
    ] {
        let error = release(&document_with(more));
        assert!(matches!(error, Err(LatestError::Unknown(_))), "{more}: {error:?}");
    }
    // As much of its name as there is room for.
    let long = "x".repeat(200);
    let error = release(&document_with(&format!(",\"{long}\":\"\"")));
    assert_eq!(error, Err(LatestError::Unknown(long[..32].parse().unwrap())));
}

#[test]
fn latest_hole_duplicate_field() {
    for more in [",\"version\":\"v2.0.0\"", ",\"version\":\"v1.4.0\""] {
        assert_eq!(release(&document_with(more)), Err(LatestError::Twice("version")));
    }
    let twice = document_with(",\"channel\":\"\",\"channel\":\"edge\"");
    assert_eq!(release(&twice), Err(LatestError::Twice("channel")));
}

#[test]
fn latest_hole_escaped_field_name() {
    let error = release(&document_with(",\"\\u0076ersion\":\"v2.0.0\""));
    assert!(matches!(error, Err(LatestError::Text(TextFault::Escape { .. }))), "{error:?}");
}

#[test]
fn latest_hole_escape_in_a_value() {
    for escape in ["\\u0061", "\\n", "\\\"", "\\q", "\\\\"] {
        let error = release(&document_with(&format!(",\"release_notes\":\"a{escape}b\"")));
        assert!(matches!(error, Err(LatestError::Text(TextFault::Escape { .. }))), "{error:?}");
    }
}

#[test]
fn latest_hole_control_characters() {
    for control in ['\0', '\n', '\t', '\r', '\u{1b}', '\u{7f}'] {
        let error = release(&document_with(&format!(",\"release_notes\":\"a{control}b\"")));
        let expected = matches!(error, Err(LatestError::Text(TextFault::Control { .. })));
        assert!(expected, "{control:?}: {error:?}");
    }
}

#[test]
fn latest_hole_other_than_ascii() {
    let texts = [document_with(",\"release_notes\":\"é\""), format!("\u{feff}{}", document())];
    for text in texts {
        let error = release(&text);
        assert!(matches!(error, Err(LatestError::Text(TextFault::NotAscii { .. }))), "{error:?}");
    }
    let mut bytes = document_with(",\"release_notes\":\"?\"").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    let (signature, key) = signed(&bytes);
    let error = Latest::verify::<SoftSha256>(&bytes, &signature, &key).map(|_| ());
    assert_eq!(error, Err(LatestError::Text(TextFault::NotAscii { at, found: 0xff })));
}

#[test]
fn latest_hole_trailing_data() {
    let text = document();
    for more in [" ", "\n", "\0", "x", ",", "}", "{}", &text] {
        let error = release(&format!("{text}{more}"));
        let expected = matches!(
            error,
            Err(LatestError::Trailing | LatestError::Text(TextFault::Control { found: 0, .. }))
        );
        assert!(expected, "{more:?}: {error:?}");
    }
    for more in ["{}", "x", " "] {
        let error = release(&format!("{}{more}", text.trim_end()));
        assert_eq!(error, Err(LatestError::Trailing), "{more:?}");
    }
}

#[test]
fn latest_hole_what_is_no_object_of_texts() {
    let wrong = [
        String::new(),
        "null".into(),
        "[]".into(),
        format!("[{}]", document().trim_end()),
        format!(" {}", document()),
        document().replace("{\n", "{,"),
        document().replace("\n}", ",\n}"),
        document().replace("\n}\n", ""),
        document().replace("\": \"v1", "\" \"v1"),
        document().replace("\"v1.4.0\"", "null"),
        document().replace("\"v1.4.0\"", "1.4"),
        document().replace("\"v1.4.0\"", "[\"v1.4.0\"]"),
        document().replace("\"v1.4.0\"", "{}"),
        document().replace("\"v1.4.0\",", "\"v1.4.0\",,"),
        document().replace("\"version\"", "version"),
        document().replace('"', "'"),
    ];
    for text in wrong {
        let error = release(&text);
        assert!(matches!(error, Err(LatestError::Syntax)), "{text}: {error:?}");
    }
}

#[test]
fn latest_hole_oversize_document() {
    let fill = DOCUMENT_LEN_MAX - document().len();
    let text = document().replacen('\n', &format!("\n{}", " ".repeat(fill)), 1);
    assert_eq!(text.len(), DOCUMENT_LEN_MAX);
    release(&text).unwrap();
    let text = text.replacen('\n', "\n ", 1);
    let found = DOCUMENT_LEN_MAX + 1;
    let expected = LatestError::Text(TextFault::TooLong { max: DOCUMENT_LEN_MAX, found });
    assert_eq!(release(&text), Err(expected));
}

#[test]
fn latest_hole_oversize_fields() {
    for (field, max) in [
        ("vmlinuz_sig_url", 512),
        ("channel", 16),
        ("architecture", 16),
        ("min_compatible_version", 33),
        ("release_date", 40),
        ("release_notes", 4096),
    ] {
        let text = document_with(&format!(",\"{field}\":\"{}\"", "a".repeat(max + 1)));
        let expected = LatestError::TooLong { field, max, found: max + 1 };
        assert_eq!(release(&text), Err(expected));
    }
    release(&document_with(&format!(",\"release_notes\":\"{}\"", "a".repeat(4096)))).unwrap();
    // One more than a manifest has room for, without the v that is dropped.
    let long = format!("1.0.0-{}", "a".repeat(27));
    let expected = LatestError::TooLong { field: "version", max: 33, found: 33 };
    assert_eq!(replaced("v1.4.0", &long), Err(expected));
    let long = format!("v1.0.0-{}", "a".repeat(26));
    assert_eq!(replaced("v1.4.0", &long).unwrap().0, long[1..]);
}

#[test]
fn latest_hole_url_of_another_scheme() {
    for wrong in [
        "",
        "vmlinuz",
        "/vmlinuz",
        "file:///etc/shadow",
        "ftp://example.org/vmlinuz",
        "https://",
        "HTTPS://example.org/vmlinuz",
        "https://example.org/vm linuz",
        "https://example.org/<a>",
    ] {
        let error = replaced("https://example.org/vmlinuz", wrong);
        let expected = if wrong.is_empty() {
            LatestError::Missing("vmlinuz_url")
        } else {
            LatestError::Url("vmlinuz_url")
        };
        assert_eq!(error, Err(expected), "{wrong}");
    }
    let text = document_with(",\"metadata_sig_url\":\"javascript:x\"");
    assert_eq!(release(&text), Err(LatestError::Url("metadata_sig_url")));
}

#[test]
fn latest_hole_signature_of_a_file() {
    let text = document();
    let (signature, key) = signed(text.as_bytes());
    let latest = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key).unwrap();
    let file: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let signature = publisher().sign(&file).unwrap();
    let check = |bytes: &[u8], size| {
        let mut check = latest.file_check(&signature)?;
        bytes.chunks(size).for_each(|piece| check.update(piece));
        check.finish()
    };
    for size in [1, 63, 64, 4096, 20_000] {
        assert_eq!(check(&file, size), Ok(()), "{size}");
        assert_eq!(check(&file[1..], size), Err(LatestError::Signature));
        assert_eq!(check(&file[..9999], size), Err(LatestError::Signature));
    }
    assert!(matches!(latest.file_check(b""), Err(LatestError::SignatureForm { found: 0 })));
    // The document's own signature is not one of a file.
    let (other, _) = signed(text.as_bytes());
    let mut wrong = latest.file_check(&other).unwrap();
    wrong.update(&file);
    assert_eq!(wrong.finish(), Err(LatestError::Signature));
}

/// The compatibility rule of that format: pre-releases do not count against the least version.
#[test]
fn least_version_admits_its_pre_releases() {
    use stillboot_policy::version::Version;
    let text = document_with(",\"min_compatible_version\":\"v1.2.0\"");
    let (_, min_from, ..) = release(&text).unwrap();
    let least = Version::parse(&min_from).unwrap();
    for (version, admitted) in [
        ("1.2.0", true),
        ("1.2.0-rc1", true),
        ("1.2.0-0", true),
        ("1.3.0-a", true),
        ("1.1.9", false),
    ] {
        let version_of = Version::parse(version).unwrap();
        assert_eq!(version_of.cmp_precedence(&least).is_ge(), admitted, "{version}");
    }
}
