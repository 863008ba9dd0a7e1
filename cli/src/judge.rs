//! What the operator wants: the policy file, the flags that beat it, and statements.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use stillboot::format::notes::SeenNumber;
use stillboot::format::{Notes, Statement, StatementKind};
use stillboot::install::{Permission, Update};
use stillboot::verify::{Device, Verified};
use stillboot_linux::open;
use stillboot_policy::channel::Follow;
use stillboot_policy::version::VersionRule;
use stillboot_policy::window::Windows;
use stillboot_policy::{self as policy, Clock, Facts, Policy, Seen, Verdict};
use stillboot_release::keys::id_of;
use stillboot_release::settings;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::seen::{DEFAULT_FOLDER, SeenFile};
use crate::statements::{self, Given, Standing};
use crate::{args, files, time};

/// Longest file of a machine id that is read: it has 33 bytes.
const MACHINE_ID_LEN_MAX: u64 = 4096;

/// The policy file that is read where none is named.
const DEFAULT_FILE: &str = "/etc/stillboot.toml";

/// Options that say what the operator wants. Flags beat the policy file, and that the defaults.
#[derive(Args, Debug, Default)]
pub struct PolicyArgs {
    /// The policy file (TOML), or an update.conf (key=value); by default /etc/stillboot.toml if it
    /// is there
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The channel to follow: track/risk/branch, a risk or a track
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Which versions to take: any, patch, minor, major, a range such as 5.0.x, or sha256:DIGEST
    #[arg(long, value_name = "RULE")]
    versions: Option<String>,
    /// When updates may be installed, such as `mon-fri,02:00-05:00+01:00`
    #[arg(long, value_name = "WINDOWS")]
    window: Option<String>,
    /// The identity of this device in staged rollouts: a name, or a UUID; by default the machine
    /// id. Without an identity, a release for a part of all devices is deferred
    #[arg(long, value_name = "ID", value_parser = args::device_id)]
    device_id: Option<String>,
    /// A statement about the bundle, such as its channel or an approval; may be repeated. For a
    /// bundle update.sbb the files update.sbb.sbs and update.sbb.WORD.sbs beside it are read too
    #[arg(long, value_name = "FILE")]
    statement: Vec<PathBuf>,
    /// The folder that keeps the numbers of statements that were seen, and what came of a download;
    /// by default /var/lib/stillboot, or none if that does not exist
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Do not wait for window, hold, rollout or back-off; trust, class and floor are never skipped
    #[arg(long)]
    force: bool,
}

/// The policy file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    /// The channel to follow.
    channel: Option<String>,
    /// Which versions to take.
    versions: Option<String>,
    /// When updates may be installed.
    #[serde(alias = "apply-window")]
    apply_window: Option<String>,
    /// When the device may be restarted into one.
    #[serde(alias = "reboot-window")]
    reboot_window: Option<String>,
    /// Days after which a hold no longer keeps security updates out.
    #[serde(alias = "postpone-max-days")]
    postpone_max_days: Option<u32>,
    /// Whether an approval is needed.
    #[serde(alias = "approval-required")]
    approval_required: bool,
    /// What tells this device from its kind.
    #[serde(alias = "device-id")]
    device_id: Option<String>,
}

/// Keys of an `update.conf` that say nothing of when and what to install.
const OTHER_KEYS: [&str; 4] = ["server", "pubkey", "healthcheck_url", "auto_rollback_after"];

impl File {
    fn read(path: &Path, out: &Output) -> Result<Self, Failure> {
        let text = files::read_text(path)?;
        if path.extension().is_some_and(|extension| extension == "conf") {
            return Self::from_conf(&text, path, out);
        }
        toml::from_str(&text).map_err(|error| wrong(path, settings::trouble(&text, &error)))
    }

    /// The `key=value` form; keys that do not belong to the policy are for another program.
    fn from_conf(text: &str, path: &Path, out: &Output) -> Result<Self, Failure> {
        let mut file = Self::default();
        let mut keys: Vec<&str> = Vec::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let value = value.trim().trim_matches('"');
            let given = (!value.is_empty()).then(|| value.to_owned());
            let key = key.trim();
            // Keys of other programs may be there more than once.
            if ["channel", "maintenance_window"].contains(&key) {
                // Otherwise the last one would count, and an empty one would turn the rule off.
                if keys.contains(&key) {
                    return Err(wrong(path, format_args!("expected `{key}` once, found it twice")));
                }
                keys.push(key);
            }
            match key {
                "channel" => file.channel = given,
                "maintenance_window" => file.apply_window = given,
                other if OTHER_KEYS.contains(&other) => {}
                // Unknown keys are skipped in that format; the user should see a misspelled one.
                other => out.warn(format_args!("{}: unknown key `{other}`", path.display())),
            }
        }
        Ok(file)
    }
}

/// The file at `path`, unless there is nothing of that name. A link that leads nowhere, or a folder
/// that cannot be looked into, is no device without a policy: its rules would be off, unnoticed.
fn if_there(path: &Path) -> Result<Option<PathBuf>, Failure> {
    match files::is_there(path) {
        Ok(is_there) => Ok(is_there.then(|| path.to_owned())),
        Err(error) => Err(Failure::system("read", path, &error)),
    }
}

fn wrong(path: &Path, error: impl core::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, "policy", format!("{}: {error}", path.display()))
}

fn bad(what: &str, text: &str, error: impl core::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, "policy", format!("{what} `{text}`: {error}"))
}

impl PolicyArgs {
    /// The policy that file and flags make together.
    pub fn policy(&self, out: &Output) -> Result<Policy, Failure> {
        let path = match &self.policy {
            Some(named) => Some(named.clone()),
            None => if_there(Path::new(DEFAULT_FILE))?,
        };
        let file = path.map(|path| File::read(&path, out)).transpose()?.unwrap_or_default();
        let mut policy = Policy::new().with_force(self.force);
        if let Some(text) = self.channel.as_ref().or(file.channel.as_ref()) {
            policy.follow = Follow::parse(text).map_err(|error| bad("channel", text, error))?;
        }
        if let Some(text) = self.versions.as_ref().or(file.versions.as_ref()) {
            let rule = VersionRule::parse(text);
            policy.versions = rule.map_err(|error| bad("version rule", text, error))?;
        }
        let windows = |text: &String| {
            Windows::parse(text).map_err(|error| bad("maintenance window", text, error))
        };
        if let Some(text) = self.window.as_ref().or(file.apply_window.as_ref()) {
            policy.apply = windows(text)?;
        }
        if let Some(text) = &file.reboot_window {
            policy.reboot = windows(text)?;
        }
        policy.postpone_max_s = file.postpone_max_days.map(|days| u64::from(days) * 86_400);
        policy.approval_required = file.approval_required;
        let machine_id = open::small_text(Path::new("/etc/machine-id"), MACHINE_ID_LEN_MAX).ok();
        if let Some(text) = &file.device_id {
            args::device_id(text).map_err(|error| bad("device_id", text, error))?;
        }
        let given = self.device_id.as_deref().or(file.device_id.as_deref());
        policy.device_id = identity(given, machine_id.as_deref());
        Ok(policy)
    }

    /// The statements given, and those beside `bundle`.
    pub fn statements(&self, bundle: &Path, out: &Output) -> Result<Vec<Given>, Failure> {
        statements::find(&self.statement, bundle, out)
    }

    /// The folder that outlives a restart, if there is one.
    pub fn state_folder(&self) -> Option<&Path> {
        let folder = self.state.as_deref().unwrap_or_else(|| Path::new(DEFAULT_FOLDER));
        folder.is_dir().then_some(folder)
    }

    /// What is kept of statements that were seen.
    pub fn seen(&self, out: &Output) -> Option<SeenFile> {
        SeenFile::open(self.state.as_deref(), out)
    }
}

/// The identity of a device: the one that is given, else the machine id. `None` for ids that many
/// machines share: an empty one, zeros, and the one of an image before its first start.
fn identity(given: Option<&str>, machine_id: Option<&str>) -> Option<[u8; 16]> {
    let text = given.or(machine_id)?.trim();
    if text.chars().all(|c| ['0', '-'].contains(&c)) || text == "uninitialized" {
        return None;
    }
    Some(id_of(text))
}

/// Asks the policy, with the statements verified under the keyset of the bundle.
pub struct Judge<'a> {
    /// Whom the device trusts.
    pub device: Device<'a>,
    /// What the operator wants.
    pub policy: Policy,
    /// Files that may hold statements.
    pub statements: Vec<Given>,
    /// Which statements were seen, where that is kept.
    pub seen: Option<SeenFile>,
    /// Whether those that are seen now are noted.
    pub notes: bool,
    /// For warnings.
    pub out: &'a Output,
    /// Why nothing may be installed, whatever the policy decides; reported when the policy is
    /// asked.
    pub spared: Option<Failure>,
    /// Why it was not asked, or a statement was not accepted: then nothing is installed.
    pub failure: Option<Failure>,
    /// What each rule said.
    pub findings: Vec<(policy::PolicyRule, Verdict)>,
    /// What they come to together, once it came to the policy.
    pub verdict: Option<Verdict>,
    /// What became of each statement.
    pub standings: Vec<Standing>,
    /// The numbers of the statements about an update that the policy lets in.
    pub went_by: Vec<SeenNumber>,
}

impl Judge<'_> {
    /// Whether `update` may be installed now; the reason is kept.
    pub fn judge(&mut self, update: &Update<'_>) -> Permission {
        if let Some(failure) = self.spared.take() {
            self.failure = Some(failure);
            return Permission::Defer;
        }
        let digest = update.manifest.digest();
        let verified = statements::verify(&self.statements, &self.device, update.head, digest);
        let statements = match verified {
            Ok((statements, standings)) => {
                self.standings = standings;
                statements
            }
            Err(failure) => {
                self.failure = Some(failure);
                // Any verdict but "proceed" is right here: the failure is reported instead.
                return Permission::Defer;
            }
        };
        for what in statements::reported(&self.standings) {
            self.out.warn(format_args!("{what}; it does not count"));
        }
        // Sign-offs count for promotions only.
        let about =
            |s: &&Verified<Statement>| s.digest == *digest && s.kind != StatementKind::SignOff;
        // The numbers are saved before the verdict is used: a power cut must not make the device
        // forget a halt.
        if let Some(seen) = self.seen.as_mut().filter(|_| self.notes) {
            for statement in statements.iter().filter(about) {
                seen.note(statement.digest, statement.kind, statement.number);
            }
            seen.save(self.out);
        }
        // The numbers in the record count as well; the higher one of both applies.
        let mut seen = self.seen.as_ref().map_or(&[][..], SeenFile::entries).to_vec();
        // Notes that cannot be read count as empty, as a damaged file does.
        let notes = Notes::parse(&update.body.notes).unwrap_or_default();
        seen.extend(notes.statements.iter().map(|noted| {
            let SeenNumber { digest, kind, number } = *noted;
            Seen::new(digest, kind, number)
        }));
        let clock = time::now().map_or(Clock::NotTrusted, Clock::Trusted);
        let facts = Facts::new(update.manifest, update.body, clock)
            .with_statements(&statements)
            .with_seen(&seen)
            .with_running_version(update.running_version);
        self.findings = policy::findings(&self.policy, &facts).into_iter().collect();
        let verdict = policy::judge(&self.policy, &facts);
        if verdict == Verdict::Proceed {
            let number = |s: &Verified<Statement>| SeenNumber {
                digest: s.digest,
                kind: s.kind,
                number: s.number,
            };
            self.went_by = statements.iter().filter(about).map(number).collect();
        }
        self.verdict = Some(verdict);
        verdict.into()
    }
}

/// A failure, with the statements that did not count.
pub fn with_standings(mut failure: Failure, standings: &[Standing]) -> Failure {
    if standings.is_empty() {
        return failure;
    }
    if failure.details.is_none() {
        let all: Vec<_> = standings.iter().map(Standing::json).collect();
        failure.details = Some(json!({ "statements": all }));
    }
    statements::reported(standings).iter().fold(failure, Failure::also)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_machines_have_alike_is_no_identity() {
        let zeros = "00000000000000000000000000000000\n";
        for machine in [None, Some(""), Some(" \n"), Some("uninitialized\n"), Some(zeros)] {
            assert_eq!(identity(None, machine), None, "{machine:?}");
            assert!(identity(Some("gateway-1"), machine).is_some());
        }
        let machine = Some("4cb1f0f0a9a94f0d8f3c1b0a5d5e6f70\n");
        assert!(identity(None, machine).is_some());
        // What is given counts, and nothing is a mistake: not another machine's place.
        for given in ["", " ", "00000000-0000-0000-0000-000000000000", "0"] {
            assert_eq!(identity(Some(given), machine), None, "{given:?}");
        }
        assert_ne!(identity(Some("a"), machine), identity(Some("b"), machine));
    }
}
