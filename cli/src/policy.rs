//! `stillboot policy check`: which rule decides what about an update.

use clap::Args;
use serde_json::json;
use stillboot::driver::{self, InstallHost, NoStore};
use stillboot::install::{Install, InstallError, Nothing, Permission, Update};
use stillboot::verify::SoftSha256;
use stillboot_linux::disk::{self, Disk};
use stillboot_policy::{self as policy, Clock, Verdict};

use crate::failure::{Exit, Failure};
use crate::install::{self, UpdateArgs};
use crate::judge::Judge;
use crate::output::Output;
use crate::source::Bundle;
use crate::statements::Standing;
use crate::{time, verdict, verify};

/// What can be asked of the policy.
#[derive(clap::Subcommand, Debug)]
pub enum PolicyCommand {
    /// Shows which rule would decide what about a bundle, and changes nothing
    Check(Box<CheckArgs>),
}

/// Options of `policy check`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot policy check update.sbb --disk disk.img \\\n    \
    --roots roots.toml --class model-1 --offline\n\n\
    Exits 0 if the update would be installed now, 3 if it would wait, 4 if it would be refused,\n\
    5 if it is installed: then `reboot` says whether the restart into it is allowed now.")]
pub struct CheckArgs {
    #[command(flatten)]
    update: UpdateArgs,
}

/// Takes the question to the policy and lets nothing be written.
struct Asker<'a>(Judge<'a>);

impl InstallHost for Asker<'_> {
    fn judge(&mut self, update: &Update<'_>) -> Permission {
        self.0.judge(update);
        Permission::Defer
    }
}

/// Shows which rule would decide what, and changes nothing.
pub fn check(args: &CheckArgs, out: &Output) -> Result<(), Failure> {
    let update = &args.update;
    let roots = update.device.roots()?;
    let device = update.device(&roots);
    let judge = update.judge(device, out)?;
    // The checks of the bundle that `install` makes come first.
    let mut bundle = Bundle::open_whole(&update.bundle, "policy check", &update.http, out)?;
    let kind = update.kind();
    let manifest = verify::whole(&device, kind, &mut bundle, out)?;
    let names = update.device.names(&roots);
    verify::for_device(&device, &names, &manifest)?;
    bundle.rewind()?;
    let Disk { devices, plan, .. } = &mut update.disk.look(out)?;
    let slots = plan.slots();
    let config = update.config(device, plan.layout(&slots)?)?;
    let judge = Judge { spared: install::spare_rolled_back(&config, devices), ..judge };
    let mut machine = Install::<SoftSha256>::new(&config);
    let mut buffer = vec![0; install::BUFFER_LEN];
    let mut host = Asker(judge);
    let result = driver::install(
        &mut machine,
        &mut disk::lent(devices),
        &mut NoStore,
        &mut bundle,
        &mut host,
        &mut buffer,
    );
    let Asker(judge) = host;
    if let Some(failure) = judge.failure {
        return Err(failure);
    }
    let Some(verdict) = judge.verdict else {
        // The policy was not asked: the mandatory checks have decided.
        return match result {
            // It is installed already; the question is then whether the device may restart into it.
            Err(error @ InstallError::Nothing(Nothing::Ready(slot))) => {
                let clock = time::now().map_or(Clock::NotTrusted, Clock::Trusted);
                let (reboot, why) = describe(&policy::may_reboot(&judge.policy, clock));
                let mut failure =
                    Failure::from(error).also(format_args!("reboot now: {reboot}{why}"));
                failure.details = Some(json!({
                    "verdict": "ready", "slot": slot.name(), "reboot": reboot,
                    "reboot_why": why.trim_start_matches(": "),
                }));
                Err(failure)
            }
            Err(error) => Err(update.explain(error, &config, &names, devices, &mut bundle)),
            Ok(_) => Ok(()),
        };
    };
    out.line(format_args!("{:<14} passed", "trust to data"));
    let mut rows = vec![json!({ "rule": "trust to data", "verdict": "passed", "why": "" })];
    for (rule, verdict) in &judge.findings {
        let (state, why) = describe(verdict);
        out.line(format_args!("{:<14} {state}{why}", rule.name()));
        let mut row =
            json!({ "rule": rule.name(), "verdict": state, "why": why.trim_start_matches(": ") });
        if let Verdict::Deferred(deferral) = verdict {
            add(&mut row, verdict::retry(deferral));
        }
        rows.push(row);
    }
    for standing in &judge.standings {
        out.line(format_args!("{:<14} {standing}", "statement"));
    }
    let (state, why) = describe(&verdict);
    out.line(format_args!("{:<14} {state}{why}", "verdict"));
    // The restart has windows of its own, which are checked when it is due.
    let clock = time::now().map_or(Clock::NotTrusted, Clock::Trusted);
    let (reboot, reboot_why) = describe(&policy::may_reboot(&judge.policy, clock));
    out.line(format_args!("{:<14} {reboot}{reboot_why}", "reboot now"));
    let standings: Vec<_> = judge.standings.iter().map(Standing::json).collect();
    out.result(|| {
        let mut value = json!({
            "verdict": state, "why": why.trim_start_matches(": "), "rules": rows, "reboot": reboot,
            "statements": standings, "reboot_why": reboot_why.trim_start_matches(": "),
        });
        if let Verdict::Deferred(deferral) = &verdict {
            add(&mut value, verdict::retry(deferral));
        }
        value
    });
    // The table has the verdict; the exit code is the one of `install`.
    match verdict {
        Verdict::Proceed => {}
        Verdict::Deferred(_) => out.exit_with(Exit::Deferred),
        Verdict::Refused(_) => out.exit_with(Exit::Refused),
    }
    Ok(())
}

/// Adds the keys of one object to another.
fn add(value: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
}

fn describe(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Proceed => ("passed", String::new()),
        Verdict::Deferred(deferral) => ("deferred", format!(": {}", verdict::deferral(deferral))),
        Verdict::Refused(objection) => ("refused", format!(": {}", verdict::objection(objection))),
    }
}
