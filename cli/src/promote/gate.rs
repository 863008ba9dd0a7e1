//! The release policy: which sign-offs each step needs.

use std::path::Path;

use serde::Deserialize;
use stillboot::format::{Risk, StatementKind};
use stillboot_release::settings;

use super::given::Valid;
use crate::failure::{Exit, Failure};
use crate::files;

/// The release policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    promote: Gates,
}

/// A gate before each risk that one can be promoted to. Without one for beta, no sign-off is needed
/// for it; those for candidate and stable must be there, if only to say so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gates {
    beta: Option<Gate>,
    candidate: Option<Gate>,
    stable: Option<Gate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    #[serde(alias = "sign-offs")]
    sign_offs: Vec<String>,
}

/// Reads the release policy.
pub fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let text = files::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        let trouble = settings::trouble(&text, &error);
        Failure::usage(format_args!("{}: expected a release policy: {trouble}", path.display()))
    })
}

/// The sign-offs that the policy wants before `risk`, each with the file that has it.
pub fn check_gate<'a>(
    policy: &'a Policy,
    path: &Path,
    risk: Risk,
    valid: &'a [Valid],
) -> Result<Vec<(&'a str, &'a Path)>, Failure> {
    let gates = &policy.promote;
    let gate = match risk {
        Risk::Stable => &gates.stable,
        Risk::Candidate => &gates.candidate,
        Risk::Beta => &gates.beta,
        // There is no promotion to edge.
        Risk::Edge | Risk::Unknown(_) => &None,
    };
    let wanted = match (gate, risk) {
        (Some(gate), _) => &gate.sign_offs[..],
        (None, Risk::Stable | Risk::Candidate) => {
            return Err(Failure::usage(format_args!(
                "{} says nothing of {risk}: expected [promote.{risk}] with sign_offs = [...], if \
                 only an empty list",
                path.display()
            )));
        }
        (None, _) => &[],
    };
    let holder = |name: &&String| {
        valid.iter().find(|valid| {
            valid.statement.kind == StatementKind::SignOff
                && valid.statement.name.as_str() == name.as_str()
        })
    };
    let missing: Vec<_> =
        wanted.iter().filter(|name| holder(name).is_none()).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            "sign-off",
            format_args!(
                "{} wants sign-offs for {risk}: expected {}, found none for {}; `stillboot \
                 statement sign-off` makes them, --statement gives them",
                path.display(),
                wanted.join(", "),
                missing.join(", ")
            ),
        ));
    }
    Ok(wanted
        .iter()
        .filter_map(|name| holder(&name).map(|valid| (name.as_str(), valid.path.as_path())))
        .collect())
}
