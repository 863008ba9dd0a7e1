//! A release of the loader: one component, signed by roots.

use std::path::Path;

use stillboot::format::{KeyRole, Load, Manifest, PayloadType, Role};
use stillboot::verify::RootKey;
use stillboot_release::bundle::{self, Part};
use stillboot_release::keys::{Roots, Signer};

use super::component::{self, Opened};
use super::settings::{Component, Settings, missing};
use super::written::{Counted, explain, tell};
use super::{PackArgs, check};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::{files, view};

/// Writes a release of the loader: one component, signed by roots.
pub fn release(
    args: &PackArgs,
    settings: &Settings,
    file: &Path,
    roots: Option<&Roots>,
    manifest: Manifest,
    out: &Output,
) -> Result<(), Failure> {
    // Options and settings of the file may contradict each other, which the parser does not see.
    if !settings.components().is_empty()
        || settings.keyset.is_some()
        || settings.single_key
        || settings.recovery
        || settings.dtb_required
        || args.latest.inputs().next().is_some()
    {
        return Err(Failure::usage(
            "a release of the loader has the loader alone, no keyset, no slot, and no device trees: \
             leave other components, keyset, single-key, recovery, dtb-required and \
             --from-latest-json out",
        ));
    }
    let Some(roots) = roots else { return Err(missing("roots")) };
    if settings.key.is_empty() && args.signers.signer.is_empty() {
        return Err(missing("key"));
    }
    let signing = args.signers.signers(&settings.key, "--key")?;
    let mut signers: Vec<(KeyRole, &dyn Signer)> = Vec::new();
    for named in &signing {
        let public = named.signer.public();
        if !roots.keys.contains(&RootKey::ed25519(public)) {
            return Err(Failure::new(
                Exit::Failed,
                "key",
                format_args!(
                    "{}: key {} is none of the roots, and only roots sign a release of the loader: \
                     no device would count its signature",
                    named.name,
                    view::key(&public)
                ),
            ));
        }
        signers.push((KeyRole::Root, &*named.signer));
    }
    if signers.len() < usize::from(roots.threshold) {
        out.warn(format_args!(
            "devices want {} signatures by root keys, this release of the loader carries {}: add \
             more with `stillboot sign`",
            roots.threshold,
            signers.len()
        ));
    }
    check::odd_promises(&manifest, args.force, out)?;
    let component = Component {
        role: Role::Loader,
        file: Some(file.to_owned()),
        text: None,
        load: None,
        slot: None,
    };
    let Opened { input, len: total, .. } = component::open(&component)?;
    let mut part = Part::new(Role::Loader, Load::Late, input);
    let named = settings.inputs(args.config.as_deref()).into_iter();
    let inputs: Vec<_> = named.chain(args.signers.inputs()).collect();
    let (manifest, digest, len) = files::replace(&args.out, &inputs, |file| {
        let mut progress = Progress::new(out, "packing", 2 * total);
        let mut counted = Counted { file, len: 0 };
        let (manifest, digest) = bundle::write_loader_release(
            manifest,
            &signers,
            &mut part,
            &mut counted,
            &mut |done| progress.set(done),
        )
        .map_err(|error| explain(error, &args.out))?;
        Ok((manifest, digest, counted.len))
    })?;
    tell(&args.out, PayloadType::LoaderRelease, &manifest, &digest, len, out);
    Ok(())
}
