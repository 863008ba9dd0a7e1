//! How a command fails: exit code, a fixed word for scripts, and a text for people.

use std::fmt::Display;
use std::path::Path;

use stillboot::boot::Reason;
use stillboot::device::DeviceError;
use stillboot::format::{Fault, FormatError, SlotState};
use stillboot::install::{InstallError, Nothing, Refusal, Wait};
use stillboot::layout::LayoutError;
use stillboot::record::{ConfirmRefusal, RecordStatus};
use stillboot::request::RequestError;
use stillboot::verify::{SignatureError, TrustError};
use stillboot_fetch::error::FetchError;
use stillboot_fetch::http;
use stillboot_linux::OpenError;
use stillboot_linux::disk::DiskError;
use stillboot_linux::proof::ProofError;
use stillboot_linux::table::TableError;
use stillboot_release::bundle::BundleError;
use stillboot_release::keys::KeyError;

/// The exit codes. Scripts depend on them: numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// The command line, or a file with settings, is wrong.
    Usage = 2,
    /// Not now; the same request may be accepted later.
    Deferred = 3,
    /// Not as it is, however often it is asked.
    Refused = 4,
    /// It is so already.
    Nothing = 5,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One fixed word for scripts.
    pub kind: &'static str,
    /// What was expected, what was found, what to do.
    pub message: String,
    /// More that the command found, for `--json`: an object.
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// A failure without details.
    pub fn new(exit: Exit, kind: &'static str, message: impl Display) -> Self {
        Self { exit, kind, message: message.to_string(), details: None }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The operating system did not do what was asked of it.
    pub fn system(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(Exit::Failed, "io", format_args!("cannot {action} {}: {error}", path.display()))
    }

    /// The same failure with more to read.
    #[must_use]
    pub fn also(mut self, text: impl Display) -> Self {
        use std::fmt::Write as _;
        let _ = write!(self.message, "; {text}");
        self
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        // The same exit code and kind as for every other file that is too long.
        if let KeyError::System { action: "read", source, .. } = &error
            && source.kind() == std::io::ErrorKind::FileTooLarge
        {
            return Self::new(Exit::Refused, "format", error);
        }
        let kind = match &error {
            KeyError::System { .. } => "io",
            KeyError::NotAKey { .. }
            | KeyError::Passphrase { .. }
            | KeyError::SameKey
            | KeyError::Signer(_) => "key",
            KeyError::Roots { .. } => "roots",
            KeyError::OtherPayload | KeyError::Format(_) => "format",
            _ => "key",
        };
        Self::new(Exit::Failed, kind, error)
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        let (exit, kind) = match &error {
            BundleError::Io(_) | BundleError::Changed(_) => (Exit::Failed, "io"),
            BundleError::Manifest(_) | BundleError::TooManyComponents(_) => (Exit::Usage, "usage"),
            BundleError::Keyset(_) => (Exit::Failed, "format"),
            BundleError::Key(_) => (Exit::Failed, "key"),
            _ => (Exit::Failed, "bundle"),
        };
        Self::new(exit, kind, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Locked { .. } => {
                Self::new(Exit::Deferred, "locked", error).also("--wait SECONDS waits for it")
            }
            OpenError::System { .. } => Self::new(Exit::Failed, "io", error),
            _ => Self::new(Exit::Failed, "disk", error),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        let kind = if matches!(error, TableError::System { .. }) { "io" } else { "table" };
        Self::new(Exit::Failed, kind, error)
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Open(error) => error.into(),
            DiskError::Table(error) => error.into(),
            DiskError::BackupTable { .. } => Self::new(Exit::Failed, "table", error).also(
                "`stillboot disk repair` restores it, or says what it needs to know first; \
                     --backup-table writes anyway",
            ),
            error => Self::new(Exit::Failed, "disk", error).also(
                "expected a disk as `stillboot disk create` makes it; see `stillboot disk show`",
            ),
        }
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        DiskError::Layout(error).into()
    }
}

impl From<ProofError> for Failure {
    fn from(error: ProofError) -> Self {
        Self::new(Exit::Refused, "proof", error)
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        if error.is_setup() {
            return Self::usage(error);
        }
        let exit = if error.is_temporary() { Exit::Failed } else { Exit::Refused };
        let failure = Self::new(exit, "http", &error);
        if error.is_temporary() { failure.also("try again later") } else { failure }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Http(error) => error.into(),
            FetchError::Io { name, error } => Self::system("read", Path::new(&name), &error),
            error @ FetchError::Length { .. } => {
                let is_short = matches!(error, FetchError::Length { expected, found, .. }
                    if found < expected);
                let kind = if is_short { "ended" } else { "trailing" };
                Self::new(Exit::Refused, kind, format_args!("refused: {error}"))
                    .also("fetch it again")
            }
            error => Self::new(Exit::Refused, "frames", format_args!("refused: {error}")),
        }
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let (exit, kind, advice) = classify(&error);
        let mut failure = Self::new(exit, kind, words(&error));
        if let InstallError::Deferred(Wait::Unverified(slot)) = &error {
            failure.details = Some(serde_json::json!({ "slot": slot.name() }));
        }
        if advice.is_empty() { failure } else { failure.also(advice) }
    }
}

/// The error for people: with dates where the core, which has no calendar, has seconds.
fn words(error: &InstallError) -> String {
    match error {
        InstallError::Refused(Refusal::RunningUnverified) => {
            "refused: the slot that runs does not verify under these roots and this class".into()
        }
        error => error.to_string(),
    }
}

/// Exit code, word and advice for what an installation or a check of a bundle came to.
fn classify(error: &InstallError) -> (Exit, &'static str, &'static str) {
    match error {
        InstallError::Refused(refusal) => {
            let (kind, advice) = refusal_kind(refusal);
            (Exit::Refused, kind, advice)
        }
        InstallError::Deferred(wait) => {
            let kind = match wait {
                Wait::Unconfirmed => "unconfirmed",
                Wait::Held => "held",
                Wait::StoreFailed => "store",
                Wait::RecordLost => "record-lost",
                Wait::Unverified(_) => "unverified",
                Wait::StoreFull => "store-full",
                _ => "deferred",
            };
            let advice = match wait {
                Wait::Held => {
                    "`stillboot status` shows which slot is held, and `stillboot unhold SLOT` \
                     releases it"
                }
                Wait::Unverified(_) => {
                    "--slot names it; for a disk at hand `stillboot boot`, with \
                     --even-if-nothing-verifies if the roots are right, does what a boot does"
                }
                Wait::RecordLost => {
                    "restart if a system runs from this disk; for a disk at hand, `stillboot \
                     boot` does the same; where no slot verifies, with \
                     --even-if-nothing-verifies"
                }
                _ => "",
            };
            (Exit::Deferred, kind, advice)
        }
        InstallError::Nothing(nothing) => {
            let kind = match nothing {
                Nothing::Running => "running",
                Nothing::Ready(_) => "ready",
                Nothing::ToResume => "to-resume",
                _ => "nothing",
            };
            (Exit::Nothing, kind, "")
        }
        InstallError::Device(error) => (Exit::Failed, "device", device_advice(*error)),
        InstallError::Record(error) => (Exit::Failed, "record", device_advice(*error)),
        InstallError::Source => (Exit::Failed, "source", ""),
        InstallError::ReadBack => (
            Exit::Failed,
            "read-back",
            "the slot was not switched to; install again, and replace the medium if that fails too",
        ),
        _ => (Exit::Failed, "bug", "this is a bug of stillboot: report it"),
    }
}

fn refusal_kind(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::Trust(error) => ("trust", trust_advice(error)),
        Refusal::Class(_) => ("class", "take the bundle that was made for this device"),
        Refusal::BelowFloor { .. } => ("below-floor", "take a release of a higher security level"),
        Refusal::FloorJump { .. } => ("floor-jump", "ask who released it"),
        Refusal::NotNewer { .. } => {
            ("not-newer", "to go back to another update slot use `stillboot rollback`")
        }
        Refusal::Loader { .. } => ("loader", ""),
        Refusal::Layout(LayoutError::NoSuchSlot(_)) => ("layout", OTHER_DISK),
        Refusal::Layout(LayoutError::NothingForSlot) => (
            "layout",
            "`stillboot inspect` shows for which slots it is linked; take the bundle that is \
             linked for this slot, or restart into the other one first",
        ),
        Refusal::Layout(_) => ("layout", "see `stillboot disk show` for what there is"),
        Refusal::CannotReadData { .. } => (
            "data-epoch",
            "take a release that reads this data; where nothing runs, --allow-new-epoch accepts \
             it anyway",
        ),
        Refusal::FallbackCannotRead { .. } => ("data-epoch", "--allow-new-epoch accepts it anyway"),
        Refusal::Policy => ("policy", "`stillboot policy check` says which rule"),
        Refusal::Proof => ("proof", "give the proof of the boot that runs now"),
        Refusal::RunningUnverified => (
            "running-unverified",
            "check --roots and --class first; `stillboot scrub` shows what is wrong with the slot; \
             if it is damaged, restart: the loader then starts another slot if there is one",
        ),
        Refusal::NoOtherSlot => {
            ("no-other-slot", "`stillboot disk show` lists the partitions that were found")
        }
        Refusal::TargetRuns => ("target-runs", "leave --slot out, or name another slot"),
        Refusal::RecoveryNeedsGood => ("recovery-needs-good", "confirm the running slot first"),
        Refusal::NewerRecord => ("newer-record", ""),
        Refusal::Content { .. } => ("content", "fetch the bundle again"),
        Refusal::Ended => ("ended", "fetch the bundle again"),
        Refusal::Trailing => ("trailing", "fetch the bundle again"),
        _ => ("refused", ""),
    }
}

/// What to do about something that is not trusted, as far as its bytes show the reason.
pub const fn trust_advice(error: &TrustError) -> &'static str {
    match error {
        TrustError::KeysetSignature(SignatureError::Kind { .. })
        | TrustError::ManifestSignature(SignatureError::Kind { .. })
        | TrustError::StatementSignature(SignatureError::Kind { .. })
        | TrustError::LoaderSignature(SignatureError::Kind { .. }) => {
            "update this software, or use a keyset without that kind"
        }
        TrustError::KeysetSignature(_) => {
            "either its keyset is not of the roots in --roots, or a bit of it changed: check \
             --roots, and fetch it again"
        }
        TrustError::ManifestSignature(_) => {
            "either it was not signed by the keys that its keyset names, or a bit of it changed: \
             fetch it again; one for the recovery slot needs --recovery, or --slot recovery to be \
             installed; `stillboot inspect` shows who claims to have signed it"
        }
        TrustError::StatementSignature(_) => {
            "either it was not signed by the keys that the bundle's keyset names, or a bit of it \
             changed"
        }
        TrustError::Keyset(_) | TrustError::Manifest(_) | TrustError::Statement(_) => {
            "it is damaged, or was made by a version that this one cannot read: fetch it again"
        }
        TrustError::WrongPayload { .. } => {
            "a bundle has a keyset first and then a manifest, as `stillboot pack` writes it"
        }
        TrustError::LoaderRole | TrustError::LoaderContent { .. } => {
            "pack it again; `stillboot pack --loader-release` packs a release of the loader"
        }
        TrustError::EdgeOnly => "`stillboot sign` adds the signature of a release key",
        TrustError::WrongProduct | TrustError::NoTrust => {
            "check that --roots is the file of this bundle's product"
        }
        TrustError::TestKey => "make keys of your own with `stillboot keygen`",
        _ => "",
    }
}

const fn device_advice(error: DeviceError) -> &'static str {
    match error {
        DeviceError::Full => "make room, and try again",
        _ => "",
    }
}

/// The state of a slot whose update was called off.
pub const CALLED_OFF: SlotState = SlotState::Bad { fault: Fault::Superseded };

/// Where a slot may be that the disks have not.
pub const OTHER_DISK: &str = "if it is on another disk, give that as a second --disk";

/// What is wrong where a proof names the update in a slot, and the record has no boot of it.
pub const UNKNOWN_BOOT: &str = "the boot record does not know of the boot that the proof is of: its \
                                newest copy may be lost; restart, and confirm then";

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let (exit, kind) = match &error {
            RequestError::Confirm(_) => (Exit::Refused, "confirm"),
            RequestError::Operator(_) => (Exit::Refused, "operator"),
            RequestError::NoSuchSlot(_) => (Exit::Refused, "no-such-slot"),
            RequestError::NoRecord(RecordStatus::Newer) => (Exit::Refused, "newer-record"),
            RequestError::NoRecord(RecordStatus::Factory) => (Exit::Deferred, "no-record"),
            RequestError::NoRecord(_) => (Exit::Deferred, "record-lost"),
            RequestError::OtherVersion { .. } => (Exit::Refused, "other-version"),
            RequestError::Device(_) => (Exit::Failed, "device"),
            RequestError::Record(_) => (Exit::Failed, "record"),
            _ => (Exit::Failed, "bug"),
        };
        if let RequestError::Confirm(ConfirmRefusal::NotOnTrial(CALLED_OFF)) = error {
            return Self::new(
                exit,
                kind,
                "the slot that runs was called off after it was started, and cannot be confirmed: \
                 restart, and the slot that `stillboot status` marks is started; what was called \
                 off may be installed again",
            );
        }
        if let RequestError::Confirm(ConfirmRefusal::NotOnTrial(
            SlotState::Ready { .. } | SlotState::Writing,
        )) = error
        {
            return Self::new(exit, kind, error).also(UNKNOWN_BOOT);
        }
        let failure = Self::new(exit, kind, error);
        match exit {
            Exit::Refused
                if matches!(error, RequestError::Confirm(ConfirmRefusal::OtherAttempt)) =>
            {
                failure.also(format_args!(
                    "give the proof of the boot that runs now; if it is that, {UNKNOWN_BOOT}"
                ))
            }
            Exit::Refused if kind == "no-such-slot" => failure.also(OTHER_DISK),
            Exit::Refused if kind == "confirm" => failure.also(
                "give the proof of the boot that runs now; `stillboot status` shows \
                              what each slot expects",
            ),
            Exit::Refused => failure.also("`stillboot status` shows every slot"),
            _ => failure,
        }
    }
}

/// A reason of the boot report for people.
pub fn reason_text(reason: &Reason) -> String {
    match reason {
        // This is the head of a slot on a disk, not a file that the user gave.
        Reason::Trust(
            TrustError::Keyset(FormatError::Magic) | TrustError::Manifest(FormatError::Magic),
        ) => "holds no head: nothing was installed there, or its start was overwritten".into(),
        // It may have components that only the next stage checks.
        Reason::Layout(LayoutError::NothingForSlot) => {
            "has no component for this slot that a loader checks or starts: expected a kernel, a \
             uki or an image"
                .into()
        }
        reason => reason.to_string(),
    }
}

/// The word for a reason of the boot report.
pub const fn reason_kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Started => "started",
        Reason::Device(_) => "device",
        Reason::Unstable => "unstable",
        Reason::Trust(_) => "trust",
        Reason::Class(_) => "class",
        Reason::BelowStoreFloor { .. } => "below-store-floor",
        Reason::BelowRecordFloor { .. } => "below-record-floor",
        Reason::OtherManifest => "other-manifest",
        Reason::Corrupt { .. } => "corrupt",
        Reason::NoMemory => "no-memory",
        Reason::NotCounted(_) => "not-counted",
        Reason::NewerRecord => "newer-record",
        Reason::StoreFailed => "store",
        Reason::Returned => "returned",
        Reason::NotStarted => "not-started",
        Reason::Layout(_) => "layout",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_full_has_a_kind_of_its_own() {
        let failure = Failure::from(InstallError::Deferred(Wait::StoreFull));
        assert_eq!((failure.exit, failure.kind), (Exit::Deferred, "store-full"));
    }

    /// Only reading is bounded: a full disk is no bad file.
    #[test]
    fn only_an_input_can_be_too_long() {
        for (action, exit) in [("read", Exit::Refused), ("write", Exit::Failed)] {
            let source = std::io::ErrorKind::FileTooLarge.into();
            let failure = Failure::from(KeyError::System { path: "key".into(), action, source });
            assert_eq!(failure.exit, exit, "{action}");
        }
    }

    /// It was told to give the proof of the boot that runs, and that was the one it had.
    #[test]
    fn a_boot_that_the_record_does_not_know_of_is_confirmed_after_a_restart() {
        for refusal in [
            ConfirmRefusal::NotOnTrial(SlotState::Ready { tries: 3 }),
            ConfirmRefusal::NotOnTrial(SlotState::Writing),
            ConfirmRefusal::OtherAttempt,
        ] {
            let failure = Failure::from(RequestError::Confirm(refusal));
            let text = failure.message;
            for part in ["does not know of the boot", "newest copy may be lost", "restart"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn a_kind_that_this_build_lacks_has_advice_of_its_own() {
        let kind = SignatureError::Kind {
            role: stillboot::format::KeyRole::Release,
            kind: stillboot::format::KeyKind::MlDsa65,
        };
        for error in [
            TrustError::KeysetSignature(kind),
            TrustError::ManifestSignature(kind),
            TrustError::StatementSignature(kind),
            TrustError::LoaderSignature(kind),
        ] {
            let advice = trust_advice(&error);
            assert_eq!(advice, "update this software, or use a keyset without that kind");
        }
    }

    #[test]
    fn a_slot_with_nothing_to_start_is_not_called_empty() {
        let text = reason_text(&Reason::Layout(LayoutError::NothingForSlot));
        assert!(text.contains("that a loader checks or starts"), "{text}");
    }

    #[test]
    fn a_slot_is_named_in_the_words_of_status() {
        let refusal = ConfirmRefusal::NotOnTrial(SlotState::Ready { tries: 3 });
        let failure = Failure::from(RequestError::Confirm(refusal));
        assert!(failure.message.contains("but ready, tries left: 3"), "{}", failure.message);
    }
}
