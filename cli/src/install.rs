//! `install` and `resume`: a bundle into the slot that is not running.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Args;
use serde_json::json;
use stillboot::boot::Boot;
use stillboot::check;
use stillboot::driver::{self, InstallHost, NoStore};
use stillboot::format::notes::SeenNumber;
use stillboot::format::{Digest, Slot, SlotKind, SlotState};
use stillboot::install::{
    Install, InstallConfig, InstallError, Installed, Nothing, Permission, Progress as Done,
    Refusal, Reuse, Running, Update, Wait,
};
use stillboot::layout::{Layout, LayoutError};
use stillboot::request::{Perform, Request};
use stillboot::verify::Device;
use stillboot_fetch::assembly::Origins;
use stillboot_fetch::framed::PieceFile;
use stillboot_fetch::sha256::FastSha256;
use stillboot_fetch::slots::{Slots, Target};
use stillboot_fetch::spool;
use stillboot_linux::disk::{self, Disk};
use stillboot_linux::{FileDevice, WriteBehind};
use stillboot_release::keys::Roots;

use crate::args::{self, DeviceArgs, DiskArgs, WriteArgs, read_proof};
use crate::failure::{CALLED_OFF, Exit, Failure, OTHER_DISK, UNKNOWN_BOOT};
use crate::http::{HttpArgs, is_url};
use crate::judge::{Judge, PolicyArgs, with_standings};
use crate::live::LiveArgs;
use crate::near::{BUNDLE_SPOOL, Near, PATCH_SPOOL};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::{record, request, room, size, time, verdict, verify, view, whole};

/// The work buffer in bytes: two of the largest chunks, so that both are hashed at the same time when
/// they are read back, and entries of an index.
pub const BUFFER_LEN: usize = (2 << 20) + (64 << 10);

/// Which update, for which device: what `install`, `resume` and `policy check` share.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    /// The bundle: a file or a URL; `-` reads standard input. A file is verified whole before
    /// anything is written. Of a URL or a stream a fault in a late chunk is found after a part of the
    /// slot that does not run was written: `fetch` it first where that slot must stay
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub disk: DiskArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The boot proof of the system that runs from the disk; by default that of this system
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    proof: Option<PathBuf>,
    /// Nothing runs from this disk: install without a boot proof
    #[arg(long)]
    offline: bool,
    /// The slot to install to: a, b, c or recovery. By default the update slot that is least needed
    #[arg(long, value_name = "SLOT", value_parser = args::slot)]
    slot: Option<Slot>,
}

impl UpdateArgs {
    /// What an installation starts from; `device` and `layout` are of these very arguments.
    pub fn config<'a>(
        &self,
        device: Device<'a>,
        layout: Layout<'a>,
    ) -> Result<InstallConfig<'a>, Failure> {
        let running = if self.offline {
            Running::Offline
        } else {
            Running::Proof(read_proof(self.proof.as_deref())?)
        };
        Ok(InstallConfig::new(device, layout, running).with_target(self.slot).with_tries(1))
    }

    /// The kind of slot that the bundle has to be for.
    pub fn kind(&self) -> SlotKind {
        self.slot.map_or(SlotKind::Update, Slot::kind)
    }

    /// The slots that it may go into.
    pub fn slots(&self, layout: &Layout<'_>) -> Vec<Slot> {
        let all = layout.slots().iter().map(|at| at.slot);
        all.filter(|slot| match self.slot {
            Some(named) => *slot == named,
            None => slot.kind() == self.kind(),
        })
        .collect()
    }

    /// Which device it is.
    pub fn device<'a>(&self, roots: &'a Roots) -> Device<'a> {
        // A disk that nothing runs from may be for another machine.
        if self.offline { self.device.device(roots) } else { self.device.this_device(roots) }
    }

    /// The failure that `error` is, with what was found in the bundle and on the disks.
    pub fn explain(
        &self,
        error: InstallError,
        config: &InstallConfig<'_>,
        names: &[&str],
        devices: &mut [FileDevice],
        bundle: &mut Bundle,
    ) -> Failure {
        let known = match (error, bundle.watch().manifest()) {
            (InstallError::Refused(Refusal::Class(error)), Some(manifest)) => {
                Some(verify::other_device(&config.device, names, &manifest.class, &error))
            }
            (
                InstallError::Refused(Refusal::Layout(LayoutError::TooSmall { .. })),
                Some(manifest),
            ) => room::too_small(&config.layout, &self.slots(&config.layout), manifest),
            // The core does not tell the two cases apart, and its message promises a new record.
            (InstallError::Deferred(Wait::RecordLost), _) => {
                record::all_dead_on(&config.layout, devices)
                    .map(|dead| Failure::new(Exit::Deferred, "record-lost", dead))
            }
            (InstallError::Refused(Refusal::Proof), _) => proof_trouble(config, devices),
            (InstallError::Refused(Refusal::NoOtherSlot), _) if self.offline => {
                only_slot(&self.slots(&config.layout))
            }
            (InstallError::Nothing(Nothing::Running), _) if self.offline => Some(Failure::new(
                Exit::Nothing,
                "running",
                "nothing to do: the slot that boots holds this version already; --repair installs \
                 it into another slot",
            )),
            (InstallError::Nothing(Nothing::Running), _) if self.kind() == SlotKind::Recovery => {
                Some(Failure::new(
                    Exit::Nothing,
                    "running",
                    "nothing to do: the recovery slot holds this version already; --repair writes it \
                     again",
                ))
            }
            _ => None,
        };
        known.unwrap_or_else(|| bundle.explain(error))
    }

    /// The policy, and the statements about the bundle.
    pub fn judge<'a>(&self, device: Device<'a>, out: &'a Output) -> Result<Judge<'a>, Failure> {
        let statements = self.policy.statements(&self.bundle, out)?;
        Ok(Judge {
            device,
            policy: self.policy.policy(out)?,
            seen: self.policy.seen(out),
            notes: false,
            spared: None,
            out,
            statements,
            failure: None,
            findings: Vec::new(),
            verdict: None,
            standings: Vec::new(),
            went_by: Vec::new(),
        })
    }
}

/// Options of `install` and `resume`.
#[derive(Args, Debug)]
pub struct InstallArgs {
    #[command(flatten)]
    update: UpdateArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    live: LiveArgs,
    /// How often the new version may be tried
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = args::tries())]
    tries: u8,
    /// Copy chunks that are already on the disk from there; always so where BUNDLE is a URL
    #[arg(long)]
    reuse: bool,
    /// A patch to BUNDLE from what a slot holds, as `stillboot delta` writes it: a file or a URL.
    /// Beside a URL, or with --reuse, a patch is also found by its name
    #[arg(long, value_name = "PATCH")]
    delta: Option<PathBuf>,
    /// Install what is there already, to repair a slot: the running version into another slot, or a
    /// version once more where it stands ready or is the recovery system
    #[arg(long)]
    repair: bool,
    /// Accept an update that writes data that the running version cannot read
    #[arg(long)]
    allow_new_epoch: bool,
    /// Read a file once, as a stream: damage is found only after part of the slot was written
    #[arg(long)]
    stream: bool,
}

/// What the command line adds to an installation: the operator's policy, and progress.
struct Host<'a> {
    judge: Judge<'a>,
    /// The judge said yes.
    is_permitted: bool,
    /// Tells the reader of the bundle which slot is written.
    target: Target,
    layout: Layout<'a>,
    /// What the bundle is a patch from, and the slots.
    old: Option<(Digest, Arc<Slots>)>,
    writing: Progress,
    reading: Progress,
}

impl InstallHost for Host<'_> {
    fn judge(&mut self, update: &Update<'_>) -> Permission {
        // Once for a whole installation: half way through it, a no would leave half a slot.
        if self.is_permitted {
            return Permission::Proceed;
        }
        self.target.set(&self.layout, update.target, update.manifest);
        let permission = self.judge.judge(update);
        // The slot that has the old bytes must stay as it is: nothing stands in for them.
        if permission == Permission::Proceed
            && let Some((from, slots)) = &self.old
            && !slots.has(from)
        {
            let target = update.target;
            self.judge.failure =
                Some(no_old(from, &format!("in a slot other than {target}, which is written")));
            return Permission::Reject;
        }
        self.is_permitted = permission == Permission::Proceed;
        permission
    }

    fn progress(&mut self, progress: Done) {
        let half = progress.total / 2;
        if half == 0 {
            return;
        }
        if progress.done <= half {
            self.writing.set_total(half);
            self.writing.set(progress.done);
        } else {
            self.reading.set_total(half);
            self.reading.set(progress.done - half);
        }
    }
}

/// No slot has what a patch starts from.
fn no_old(from: &Digest, place: &str) -> Failure {
    let from = view::hex(from);
    let text =
        format_args!("refused: the patch starts from the bundle {from}: expected it {place}");
    Failure::new(Exit::Refused, "patch", text).also("install the bundle that the patch leads to")
}

/// Installs a bundle, or goes on with an installation that was cut short.
pub fn install(args: &InstallArgs, resume_only: bool, out: &Output) -> Result<(), Failure> {
    let result = carry_out(args, resume_only, out);
    // A local file says nothing about a download that was cut short.
    let paths = [Some(&args.update.bundle), args.delta.as_ref()];
    let is_remote = paths.into_iter().flatten().any(|path| is_url(path).is_some());
    let is_over = match &result {
        Ok(()) => true,
        // What came may be wrong. Kept, it would be refused each time, wherever else it is. Of what
        // needs no installation nothing is of use.
        Err(failure) => match failure.exit {
            Exit::Refused => is_remote,
            Exit::Nothing => is_remote && !resume_only,
            _ => false,
        },
    };
    if is_over {
        clear_spools(&args.update);
    }
    result
}

fn carry_out(args: &InstallArgs, resume_only: bool, out: &Output) -> Result<(), Failure> {
    let update = &args.update;
    let roots = update.device.roots()?;
    let device = update.device(&roots);
    let judge = Judge { notes: true, ..update.judge(device, out)? };
    let names = update.device.names(&roots);
    let command = if resume_only { "resume" } else { "install" };
    let kept = update.policy.state_folder();
    let mut bundle = Bundle::open_kept(&update.bundle, command, &update.http, kept, out)?;
    let Disk { devices, plan, .. } = &mut args.write.open(&update.disk, out)?;
    let slots = plan.slots();
    if update.offline {
        let body = record::read(&plan.layout(&slots)?, devices)?.record.body;
        args.live.check(&update.disk.disk, &body)?;
    }
    let mut config = {
        let mut changed = update.config(device, plan.layout(&slots)?)?;
        changed.tries = args.tries;
        let reuse = args.reuse || bundle.is_remote();
        changed.reuse = Reuse { target: reuse, stated: false, running: reuse };
        changed.repair = args.repair;
        changed.allow_new_epoch = args.allow_new_epoch;
        changed.resume_only = resume_only;
        changed
    };
    let target = Target::default();
    // The bytes of a patch are those of a slot, also where it is verified.
    let old = match bundle.patch_from() {
        Some(from) => {
            let near = look_near(args, &mut config, devices, &target, &mut bundle, out)?;
            let old = near.map(|near| (from, near.slots));
            if let Some((from, slots)) = &old
                && !slots.has(from)
            {
                return Err(no_old(from, "in a slot"));
            }
            old
        }
        None => None,
    };
    verify_first(args, &device, &names, &mut bundle, out)?;
    let judge = Judge { spared: spare_rolled_back(&config, devices), ..judge };
    let mut buffer = vec![0; BUFFER_LEN];
    if old.is_none() {
        look_near(args, &mut config, devices, &target, &mut bundle, out)?;
    }
    note_time(&config.layout, devices, &mut buffer);
    for device in &mut *devices {
        // Where it cannot, the page cache serves.
        let _ = device.go_direct();
    }
    let mut machine = Install::<FastSha256>::new(&config);
    let mut host = Host {
        judge,
        is_permitted: false,
        target,
        layout: config.layout,
        old,
        writing: Progress::new(out, "installing", 0),
        reading: Progress::new(out, "reading back", 0),
    };
    let mut result = drive(&mut machine, devices, &mut bundle, &mut host, &mut buffer);
    // What the bundle said of the slot may be wrong. Resumed, the installation looks itself.
    if bundle.has_stated() && result == Err(InstallError::ReadBack) && bundle.again().is_ok() {
        out.warn(
            "the slot does not read back as its index says: it may be damaged, and is looked at and \
             completed now",
        );
        let written = machine.written();
        machine = Install::new(&config);
        result = drive(&mut machine, devices, &mut bundle, &mut host, &mut buffer);
        if let Ok(installed) = &mut result {
            // It is one installation.
            installed.written += written;
            installed.reused -= written.min(installed.reused);
            installed.resumed = false;
        }
    }
    bundle.remark().iter().for_each(|remark| out.warn(remark));
    let Host { judge, writing, reading, .. } = host;
    if let Some(failure) = judge.failure {
        let _ = bundle.finish();
        return Err(failure);
    }
    // The bars end before anything else is printed.
    drop((writing, reading));
    note_statements(&config.layout, devices, &judge.went_by, out);
    let installed = match result {
        Ok(installed) => installed,
        Err(error) => {
            // The machine knows that the policy said no, and the judge knows why.
            let failure = match judge.verdict.and_then(verdict::failure) {
                Some(failure) => failure,
                None => update.explain(error, &config, &names, devices, &mut bundle),
            };
            let failure = with_standings(failure, &judge.standings);
            let failure = with_disk_errors(failure, error, &config, devices);
            if matches!(failure.exit, Exit::Refused | Exit::Nothing) {
                // The thread that reads ahead uses the spool until it has ended.
                let _ = bundle.finish();
            }
            let digest = machine.manifest().map(|manifest| *manifest.digest());
            return Err(with_incomplete_slot(failure, error, &config, devices, digest.as_ref()));
        }
    };
    let version = machine.manifest().map(|manifest| manifest.version.as_str());
    let origins = bundle.finish().map(|(origins, trouble)| {
        if origins.rejected > 0 {
            out.warn(format_args!(
                "the patch did not give {} as they are in the bundle, which gave them instead{}",
                size::show(origins.rejected),
                trouble.map(|error| format!(": {error}")).unwrap_or_default()
            ));
        }
        origins
    });
    tell(args, &installed, version.unwrap_or_default(), devices, origins, out);
    Ok(())
}

/// Runs the machine to its end.
fn drive(
    machine: &mut Install<'_, FastSha256>,
    devices: &mut [FileDevice],
    bundle: &mut Bundle,
    host: &mut Host<'_>,
    buffer: &mut [u8],
) -> Result<Installed, InstallError> {
    thread::scope(|scope| {
        // The disks write behind for as long as the machine runs, and are whole again afterwards.
        let behind = |device| WriteBehind::new(scope, device);
        let mut behind: Vec<_> = devices.iter_mut().map(behind).collect();
        driver::install(machine, &mut disk::lent(&mut behind), &mut NoStore, bundle, host, buffer)
    })
}

/// Reads a bundle in full before the first write: a damaged download must not destroy the contents
/// of the other slot. A stream is checked as it is installed.
fn verify_first(
    args: &InstallArgs,
    device: &Device<'_>,
    names: &[&str],
    bundle: &mut Bundle,
    out: &Output,
) -> Result<(), Failure> {
    let kind = args.update.kind();
    if bundle.len().is_none() || bundle.is_remote() || args.stream {
        bundle.guard(kind);
        return Ok(());
    }
    let manifest = whole::file(device, kind, bundle, out)?;
    verify::for_device(device, names, &manifest)?;
    bundle.rewind()
}

/// Has the bundle read ahead, and what the slots or a patch have taken from there; returns that.
/// Where the bundle knows what all slots hold, the machine does not look.
fn look_near(
    args: &InstallArgs,
    config: &mut InstallConfig<'_>,
    devices: &mut [FileDevice],
    target: &Target,
    bundle: &mut Bundle,
    out: &Output,
) -> Result<Option<Near>, Failure> {
    let update = &args.update;
    let is_piped = bundle.len().is_none();
    let is_patch = bundle.patch_from().is_some();
    if is_piped && args.delta.is_some() {
        return Err(Failure::usage(
            "--delta needs a bundle that is read at any place: expected a file or a URL, found a \
             stream",
        ));
    }
    if is_patch && args.delta.is_some() {
        return Err(Failure::usage(
            "--delta needs a bundle: expected one patch, found the bundle to be another",
        ));
    }
    if is_piped || !(config.reuse.running || args.delta.is_some() || is_patch) {
        bundle.pump()?;
        return Ok(None);
    }
    bundle.in_pieces()?;
    // Where it cannot be read piece by piece, the installation says what is wrong with it.
    let Some(header) = bundle.header().copied() else { return Ok(None) };
    let mut near = Near::of(config, devices, target)?;
    // A repair is for a slot that does not hold what it should.
    near.is_asked =
        config.reuse.target && !config.repair && near.slots.knows_all(header.chunk_size);
    if near.is_asked {
        // The bundle gives what the running slot holds too, wherever that is.
        config.reuse = Reuse { target: true, stated: true, running: false };
    }
    let named = args.delta.as_deref();
    let spool = update.policy.state_folder();
    let mut patch = match is_patch {
        true => None,
        false => near.patch(named, &update.bundle, &header, &update.http, spool, out)?,
    };
    if let Some(folder) = spool {
        // A file that is here need not be kept once more.
        let keep = |patch: PieceFile| match patch.is_remote() {
            true => patch.with_spool(folder, PATCH_SPOOL),
            false => patch,
        };
        patch = patch.map(keep);
    }
    bundle.look_near(&near, patch, spool)?;
    Ok(Some(near))
}

/// What was kept of a download is of no more use. Nothing reads or writes it any more: the bundle is
/// closed.
fn clear_spools(update: &UpdateArgs) {
    for name in [BUNDLE_SPOOL, PATCH_SPOOL] {
        if let Some(folder) = update.policy.state_folder() {
            spool::clear(folder, name);
        }
    }
}

/// Loaders have no clock: failures since the last call get a time now, for the back-off.
fn note_time(layout: &Layout<'_>, devices: &mut [FileDevice], buffer: &mut [u8]) {
    if let Some(now) = time::now() {
        let mut note = Perform::new(layout, Request::NoteTime(now));
        // Without a record there is nothing to note, and the installation says what is wrong.
        let _ = driver::perform(&mut note, &mut disk::lent(devices), buffer);
    }
}

/// Adds what the system said of the disks, and what the record says about writing it.
fn with_disk_errors(
    mut failure: Failure,
    error: InstallError,
    config: &InstallConfig<'_>,
    devices: &mut [FileDevice],
) -> Failure {
    if let (InstallError::Device(_) | InstallError::Record(_), Some((path, error))) =
        (error, disk::last_error(devices))
    {
        failure = failure.also(format_args!("{}: {error}", path.display()));
    }
    // The record lacks what the last power-on could not write.
    if let InstallError::Record(_) | InstallError::Refused(Refusal::Proof | Refusal::NewerRecord) =
        error
        && let Some(trouble) = record::trouble_on(&config.layout, devices)
    {
        failure = failure.also(trouble);
    } else if let InstallError::Record(_) = error
        && let Some(places) = record::not_written_on(&config.layout, devices)
    {
        failure = failure.also(places);
    }
    failure
}

/// Adds which slot the update `digest` stands in incomplete, and the command that completes it.
fn with_incomplete_slot(
    failure: Failure,
    error: InstallError,
    config: &InstallConfig<'_>,
    devices: &mut [FileDevice],
    digest: Option<&Digest>,
) -> Failure {
    match digest.and_then(|digest| begun(config, devices, digest)) {
        // Resuming needs a write to the record as well.
        Some((slot, _)) if matches!(error, InstallError::Record(_)) => {
            failure.also(format_args!("slot {slot} is incomplete and is not started"))
        }
        Some((slot, true)) => failure.also(format_args!(
            "slot {slot} is incomplete and is not started; `stillboot resume` goes on with it"
        )),
        Some((slot, false)) => failure.also(format_args!(
            "slot {slot} is incomplete and is not started; `stillboot install` starts over"
        )),
        None => failure,
    }
}

/// Says what was installed, and what the next boot does with it.
fn tell(
    args: &InstallArgs,
    installed: &Installed,
    version: &str,
    devices: &[FileDevice],
    origins: Option<Origins>,
    out: &Output,
) {
    // The record was written to another place after one place failed.
    if let Some((path, error)) = disk::last_error(devices) {
        out.warn(format_args!(
            "{}: a request to the disk failed, but the installation is complete: \
             {error}; replace the medium when that can be done",
            path.display()
        ));
    }
    out.line(format_args!(
        "version {version} is {} in slot {}",
        if installed.resumed { "complete" } else { "installed" },
        installed.slot
    ));
    out.line(format_args!("digest {}", view::hex(&installed.digest)));
    out.line(format_args!(
        "{} written, {} were there already",
        size::show(installed.written),
        size::show(installed.reused)
    ));
    if let Some(origins) = origins.filter(|found| found.near + found.patched + found.received > 0) {
        out.line(format_args!(
            "{} copied from slots, {} by the patch, {} fetched",
            size::show(origins.near),
            size::show(origins.patched),
            size::show(origins.received)
        ));
    }
    match installed.slot.kind() {
        SlotKind::Update => out.line(format_args!(
            "the next boot tries it, at most {} times; `stillboot mark-good` keeps it",
            args.tries
        )),
        SlotKind::Recovery => out.line("recovery is booted only when no other slot can be"),
    }
    out.result(|| {
        json!({
            "slot": installed.slot.name(), "digest": view::hex(&installed.digest),
            "version": version, "written": installed.written, "reused": installed.reused,
            "resumed": installed.resumed, "tries": args.tries,
            "copied": origins.map(|found| found.near),
            "patched": origins.map(|found| found.patched),
            "rejected": origins.map(|found| found.rejected),
            "fetched": origins.map(|found| found.received),
        })
    });
}

/// Notes the numbers of the statements that the installation went by in the boot record, beside the
/// file of those that were seen: not every device has a folder for that. They are noted also if the
/// installation was cut short, which may be resumed.
fn note_statements(
    layout: &Layout<'_>,
    devices: &mut [FileDevice],
    went_by: &[SeenNumber],
    out: &Output,
) {
    for seen in went_by {
        let mut note = Perform::new(layout, Request::NoteStatement(*seen));
        if let Err(failure) = request::run(&mut note, layout, devices) {
            out.warn(format_args!(
                "{} statement number {} is not noted in the boot record: {}",
                seen.kind, seen.number, failure.message
            ));
        }
    }
}

/// The only slot there is takes an update if it is named and nothing runs from it.
fn only_slot(slots: &[Slot]) -> Option<Failure> {
    let [slot] = slots else { return None };
    Some(Failure::new(
        Exit::Refused,
        "no-other-slot",
        format_args!(
            "refused: slot {slot} boots, and there is no other update slot: a partition is missing, \
             or there is only one; where nothing runs from it, --slot {slot} installs over what it \
             holds; `stillboot disk show` lists the partitions that were found"
        ),
    ))
}

/// Why the proof does not match, where the record says more than that.
fn proof_trouble(config: &InstallConfig<'_>, devices: &mut [FileDevice]) -> Option<Failure> {
    let Running::Proof(proof) = &config.running else { return None };
    let slot = proof.slot;
    let refused = |why: String| Some(Failure::new(Exit::Refused, "proof", why));
    if !config.layout.has(slot) {
        return refused(format!(
            "refused: by the boot proof this system runs from slot {slot}, which none of the disks \
             given has; {OTHER_DISK}"
        ));
    }
    let body = record::read(&config.layout, devices).ok()?.record.body;
    let entry = body.slot(slot);
    if entry.digest != proof.digest {
        return None;
    }
    if let SlotState::Ready { .. } | SlotState::Writing = entry.state {
        return refused(format!("refused: slot {slot} is {}; {UNKNOWN_BOOT}", entry.state));
    }
    let what = match entry.state {
        CALLED_OFF => "called off",
        SlotState::Bad { .. } => "marked bad",
        _ => return None,
    };
    refused(format!(
        "refused: slot {slot}, which runs, was {what} after it was started: restart first, so that \
         a slot runs that is good"
    ))
}

/// Why the only slot that could be replaced is not: after `rollback` the next power-on starts it,
/// and the running slot is held. The operator then trusts the system in it more than the running
/// one. A slot that is named is replaced anyway.
pub fn spare_rolled_back(
    config: &InstallConfig<'_>,
    devices: &mut [FileDevice],
) -> Option<Failure> {
    let (Running::Proof(proof), None) = (&config.running, config.target) else { return None };
    // The installation reports why the record cannot be read.
    let body = record::read(&config.layout, devices).ok()?.record.body;
    let entry = body.slot(proof.slot);
    let was_left = entry.held && entry.state == SlotState::Good && entry.digest == proof.digest;
    let all = config.layout.slots().iter().map(|at| at.slot);
    let may_be_replaced = |slot: &Slot| {
        *slot != proof.slot && slot.kind() == proof.slot.kind() && !body.slot(*slot).held
    };
    let targets: Vec<_> = all.filter(may_be_replaced).collect();
    // A held slot that still boots first was not rolled back from.
    let goes_first = |slot: &Slot| {
        let other = body.slot(*slot);
        (other.state, other.suspect) == (SlotState::Good, false) && other.priority > entry.priority
    };
    let [slot] = targets[..] else { return None };
    (was_left && goes_first(&slot)).then(|| {
        Failure::new(
            Exit::Deferred,
            "rolled-back",
            format_args!(
                "deferred: the next power-on starts slot {slot}, as after `rollback`: slot {}, \
                 which runs, is held; the update would replace slot {slot}; restart first, or name \
                 it with --slot {slot}",
                proof.slot
            ),
        )
    })
}

/// The slot in which an installation of the update `digest` stands half done, as the record on the
/// disks has it now, and whether it has its head: without that there is nothing to go on with.
fn begun(
    config: &InstallConfig<'_>,
    devices: &mut [FileDevice],
    digest: &Digest,
) -> Option<(Slot, bool)> {
    let layout = &config.layout;
    let body = record::read(layout, devices).ok()?.record.body;
    let mut slots = layout.slots().iter().map(|at| at.slot);
    let slot = slots.find(|slot| {
        let entry = body.slot(*slot);
        entry.state == SlotState::Writing && entry.digest == *digest
    })?;
    let mut buffer = vec![0; Boot::<FastSha256>::buffer_len_min(layout)];
    let lent = &mut disk::lent(devices);
    let head = check::slot_head::<FastSha256>(&config.device, layout, slot, lent, &mut buffer);
    Some((slot, head.is_ok_and(|manifest| manifest.digest() == digest)))
}
