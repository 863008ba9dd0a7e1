//! Codes that this build does not know: refused or kept, by field and number.

use stillboot::format::log::{Cell, EntryKind};
use stillboot::format::notes::{ForeignLoader, Past, SeenNumber};
use stillboot::format::record::LEN_MAX;
use stillboot::format::{
    Architecture, Encryption, Envelope, Fault, Field, FormatError, KeyKind, Keyset, Load, Manifest,
    Notes, PayloadType, Record, Risk, Role, Signature, SlotState, Statement, StatementKind, crc32,
    statement,
};

use crate::golden::{
    golden_keyset, golden_manifest, golden_notes, golden_record, golden_statement, text,
};

/// All codes but these.
fn codes_beyond<T>(known: &[T], code: impl Fn(&T) -> u8) -> impl Iterator<Item = u8> {
    let known: Vec<_> = known.iter().map(code).collect();
    (0..=255).filter(move |code| !known.contains(code))
}

fn unknown<T>(field: Field, code: impl Into<u32>) -> Result<T, FormatError> {
    Err(FormatError::Unknown { field, code: code.into() })
}

#[test]
fn unknown_codes_of_an_envelope_are_refused_by_field_and_number() {
    let mut sound = [0; 1024];
    let made = [7; 64];
    let signatures = [Signature::ed25519(&[1; 32], &made)];
    let len = Envelope::emit(PayloadType::Keyset, &signatures, b"payload", &mut sound).unwrap();
    let with = |at: usize, code| {
        let mut changed = sound;
        changed[at] = code;
        Envelope::parse(&changed[..len]).map(|_| ())
    };
    for code in codes_beyond(PayloadType::ALL, |known| known.code()) {
        assert_eq!(with(5, code), unknown(Field::PayloadType, code));
    }
    for code in codes_beyond(KeyKind::ALL, |known| known.code()) {
        assert_eq!(with(48, code), unknown(Field::SignatureKind, code));
    }
}

#[test]
fn unknown_codes_of_a_keyset_are_refused_by_field_and_number() {
    let with = |change: &dyn Fn(&mut Keyset)| {
        let mut keyset = golden_keyset();
        change(&mut keyset);
        let mut bytes = [0; 1024];
        let parsed = Keyset::parse(postcard::to_slice(&keyset, &mut bytes).unwrap()).map(|_| ());
        assert_eq!(keyset.emit(&mut [0; 1024]).map(|_| ()), parsed);
        parsed
    };
    assert_eq!(with(&|_| {}), Ok(()));
    for code in codes_beyond(KeyKind::ALL, |known| known.code()) {
        let kind = KeyKind::from_code(code);
        assert_eq!(with(&|k| k.keys[1].kind = kind), unknown(Field::KeyKind, code));
    }
    // Zero stands for no part of a rule, and so never for a kind.
    for code in codes_beyond(KeyKind::ALL, |known| known.code()).filter(|code| *code != 0) {
        assert_eq!(with(&|k| k.rules[1].0[0] = code), unknown(Field::KeyKind, code));
        assert_eq!(with(&|k| k.rules[0].0[2] = code), unknown(Field::KeyKind, code));
    }
}

#[test]
fn unknown_codes_of_a_manifest_are_refused_by_field_and_number() {
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = golden_manifest();
        change(&mut manifest);
        let mut bytes = [0; 1024];
        let raw = postcard::to_slice(&manifest, &mut bytes).unwrap();
        let parsed = Manifest::parse(raw).map(|_| ());
        assert_eq!(manifest.emit(&mut [0; 1024]).map(|_| ()), parsed);
        parsed
    };
    assert_eq!(with(&|_| {}), Ok(()));
    // The reserved roles are among them.
    for code in codes_beyond(Role::ALL, |known| known.code()) {
        let role = Role::from_code(code);
        assert_eq!(with(&|m| m.components[1].role = role), unknown(Field::ComponentRole, code));
    }
    for code in codes_beyond(Load::ALL, |known| known.code()) {
        let load = Load::from_code(code);
        assert_eq!(with(&|m| m.components[1].load = load), unknown(Field::ComponentLoad, code));
    }
    for code in 5..=255_u8 {
        assert_eq!(with(&|m| m.components[0].linked = code), unknown(Field::ComponentSlot, code));
    }
    // Reserved is not known, though it has a name.
    for code in 1..=255_u8 {
        let encryption = Encryption::from_code(code);
        for number in 0..2 {
            let found = with(&|m| m.components[number].encryption = encryption);
            assert_eq!(found, unknown(Field::Encryption, code));
        }
    }
    for code in codes_beyond(Risk::ALL, |known| known.code()) {
        let risk = Risk::from_code(code);
        assert_eq!(with(&|m| m.channel.risk = risk), unknown(Field::Risk, code));
    }
    for code in codes_beyond(Architecture::ALL, |known| known.code()) {
        let architecture = Architecture::from_code(code);
        assert_eq!(with(&|m| m.architecture = architecture), unknown(Field::Architecture, code));
    }
    for bit in 2..32 {
        let flags = 1 << bit;
        assert_eq!(with(&|m| m.flags = flags), unknown(Field::Flags, flags));
        assert_eq!(with(&|m| m.flags = flags | 1), unknown(Field::Flags, flags | 1));
    }
}

/// Two fields follow the code of an encryption. They must not be read as length and digests, nor
/// make the manifest one that cannot be decoded: a device says what it lacks.
#[test]
fn an_encrypted_component_with_its_further_fields_is_refused_by_the_number_of_the_encryption() {
    let mut bytes = [0; 1024];
    let len = golden_manifest().emit(&mut bytes).unwrap();
    // Each component ends with its length, and two digests.
    let last = len - 64 - GOLDEN_LENGTHS[1].len() - 1;
    let first = last - 3 - 64 - GOLDEN_LENGTHS[0].len() - 1;
    for (at, length) in [(first, GOLDEN_LENGTHS[0]), (last, GOLDEN_LENGTHS[1])] {
        assert_eq!(&bytes[at + 1..][..length.len()], length);
        for further in [&[0xee; 24][..], &[0; 24], &[0xff; 24], &[0xee; 23], &[]] {
            let encrypted = [&bytes[..at], &[1], further, &bytes[at + 1..len]].concat();
            assert_eq!(Manifest::parse(&encrypted), unknown(Field::Encryption, 1_u8));
            assert_eq!(Manifest::parse_unchecked(&encrypted), unknown(Field::Encryption, 1_u8));
        }
    }
}

/// The lengths of the golden manifest's components, as they stand there.
const GOLDEN_LENGTHS: [&[u8]; 2] = [&[0xc0, 0x84, 0x3d], &[0x80, 0xe4, 0x97, 0xd0, 0x12]];

#[test]
fn unknown_codes_of_a_statement_are_refused_by_field_and_number() {
    let sound = golden_statement();
    let with = |change: &dyn Fn(&mut Statement)| {
        let mut statement = sound.clone();
        change(&mut statement);
        let mut bytes = [0; 1024];
        let raw = postcard::to_slice(&statement, &mut bytes).unwrap();
        let parsed = Statement::parse(raw).map(|_| ());
        assert_eq!(statement.emit(&mut [0; 1024]).map(|_| ()), parsed);
        parsed
    };
    assert_eq!(with(&|_| {}), Ok(()));
    for code in codes_beyond(StatementKind::ALL, |known| known.code()) {
        let kind = StatementKind::from_code(code);
        assert_eq!(with(&|s| s.kind = kind), unknown(Field::StatementKind, code));
    }
    for code in codes_beyond(Risk::ALL, |known| known.code()) {
        let risk = Risk::from_code(code);
        assert_eq!(with(&|s| s.channel.risk = risk), unknown(Field::Risk, code));
    }
}

#[test]
fn unknown_states_of_slots_are_refused_by_number_and_unknown_faults_are_kept() {
    // Slot A of a fresh record is the first byte of the body.
    let mut sound = [0; LEN_MAX];
    let len = Record::default().emit(&mut sound).unwrap();
    assert_eq!(sound[16], 0);
    for code in 6..=255 {
        let mut bytes = sound;
        bytes[16] = code;
        let crc = crc32(&bytes[..len - 4]);
        bytes[len - 4..len].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Record::parse(&bytes), unknown(Field::SlotState, code));
    }
    for code in 0..=255 {
        let fault = Fault::from_code(code);
        let mut record = golden_record();
        record.body.slots[0].state = SlotState::Bad { fault };
        record.body.failed[0].fault = fault;
        let mut bytes = [0; LEN_MAX];
        record.emit(&mut bytes).unwrap();
        assert_eq!(Record::parse(&bytes), Ok(record));
    }
}

#[test]
fn unknown_codes_of_notes_are_refused_by_field_and_number_and_the_record_counts_all_the_same() {
    let with = |change: &dyn Fn(&mut Notes)| {
        let mut notes = golden_notes();
        change(&mut notes);
        let mut bytes = [0; 1024];
        let raw = postcard::to_slice(&notes, &mut bytes).unwrap();
        let parsed = Notes::parse(raw).map(|_| ());
        assert_eq!(notes.emit().map(|_| ()), parsed);
        let mut record = golden_record();
        record.body.notes = heapless::Vec::from_slice(raw).unwrap();
        let mut copy = [0; LEN_MAX];
        record.emit(&mut copy).unwrap();
        assert_eq!(Record::parse(&copy), Ok(record));
        parsed
    };
    assert_eq!(with(&|_| {}), Ok(()));
    for code in codes_beyond(ForeignLoader::ALL, |known| known.code()) {
        let kind = ForeignLoader::from_code(code);
        assert_eq!(with(&|n| n.loader.kind = kind), unknown(Field::ForeignLoader, code));
    }
    for code in codes_beyond(StatementKind::ALL, |known| known.code()) {
        let kind = StatementKind::from_code(code);
        assert_eq!(with(&|n| n.statements[0].kind = kind), unknown(Field::StatementKind, code));
    }
    // Of a later version nothing is known, not even how long they are.
    assert_eq!(with(&|n| n.version = 2), Err(FormatError::Version { found: 2 }));
    for number in [0, statement::NUMBER_MAX + 1] {
        let bounds = Err(FormatError::Bounds(Field::StatementNumber));
        assert_eq!(with(&|n| n.statements[0].number = number), bounds);
    }
    let bounds = Err(FormatError::Bounds(Field::VersionText));
    assert_eq!(with(&|n| n.history[0].version.clear()), bounds);
    assert_eq!(with(&|n| n.history[0].version = text("1 2")), bounds);
    let bounds = Err(FormatError::Bounds(Field::ForeignLoader));
    assert_eq!(with(&|n| n.loader.needs = text("a\n")), bounds);
}

/// A cell of an unknown kind that is sound is no damage: a later version wrote it. So it is read,
/// with its number, and a reader of the log stops there.
#[test]
fn entries_of_an_unknown_kind_keep_their_number() {
    for code in codes_beyond(EntryKind::ALL, |known| known.code()) {
        let kind = EntryKind::Unknown(code);
        let cell = Cell { kind, slot: 9, component: 200, offset: 77, cells: u32::MAX };
        assert_eq!(Cell::parse(&cell.emit(3), 3), Ok(cell));
    }
}

#[test]
fn notes_at_their_longest_make_room_by_what_is_oldest() {
    let mut notes = golden_notes();
    notes.loader.needs = text(&"/".repeat(32));
    let past = Past {
        version: text(&"9".repeat(32)),
        keyset_version: u32::MAX,
        sequence: u64::MAX,
        at: u64::MAX,
    };
    let seen = SeenNumber {
        digest: [0xff; 32],
        kind: StatementKind::SignOff,
        number: statement::NUMBER_MAX,
    };
    notes.index_issue = u64::MAX;
    notes.history = (0..4).map(|_| past.clone()).collect();
    notes.statements = (0..4).map(|_| seen).collect();
    // With all at its longest they are too long for the record: the oldest has to go.
    assert!(notes.emit().is_err());
    let mut dropped = 0;
    while notes.emit().is_err() {
        notes.drop_oldest();
        dropped += 1;
    }
    assert_eq!((dropped, notes.history.len(), notes.statements.len()), (2, 4, 2));
    assert_eq!(Notes::parse(&notes.emit().unwrap()), Ok(notes));
}
