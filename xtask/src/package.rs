//! `cargo xtask package`: each crate that is published can be packed, and what is packed builds by
//! itself.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::shell;

/// Packs every crate that is published. With `build`, what was packed is built, and a publication is
/// tried as far as that goes without an upload.
///
/// # Errors
/// A crate cannot be packed or built.
pub fn run(build: bool) -> Result<()> {
    let metadata = MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    // `Some(&[])` is `publish = false`.
    let published: Vec<&Package> =
        metadata.packages.iter().filter(|package| package.publish.is_none()).collect();
    if published.len() < 12 {
        bail!("expected the library crates and the tool, found {}", published.len());
    }
    for package in &published {
        described(package)?;
    }
    forget_packed(&published)?;
    // Together: cargo then takes those that depend on each other from what it has just packed.
    let mut pack = shell::cargo();
    pack.args(["package", "--locked", "--allow-dirty"]);
    for package in &published {
        pack.args(["--package", package.name.as_str()]);
    }
    if !build {
        pack.arg("--no-verify");
    }
    shell::run(pack.current_dir(shell::root()))?;
    if build {
        // A publication asks the registry for each dependency, and ours are not there yet.
        for package in published.iter().filter(|package| !has_own_dependencies(package)) {
            let name = package.name.as_str();
            let words = ["publish", "--dry-run", "--locked", "--allow-dirty", "--package", name];
            shell::run(shell::cargo().args(words).current_dir(shell::root()))?;
        }
    }
    println!("note: {} crates can be packed", published.len());
    Ok(())
}

/// Removes what cargo has kept of an earlier packaging. It unpacks a crate once for each version, and
/// would build the others with the crate as it was then.
fn forget_packed(published: &[&Package]) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registry = home.context("expected CARGO_HOME or a home folder")?.join("registry");
    for kind in ["src", "cache"] {
        // Not there on a machine that has never built anything.
        let Ok(folders) = fs::read_dir(registry.join(kind)) else { continue };
        for folder in folders {
            // The registry of a packaging has no host, so its name begins with a hyphen.
            let folder = folder?;
            if !folder.file_name().to_string_lossy().starts_with('-') {
                continue;
            }
            for package in published {
                let stem = format!("{}-{}", package.name, package.version);
                let unpacked = folder.path().join(&stem);
                if unpacked.exists() {
                    fs::remove_dir_all(&unpacked)
                        .with_context(|| format!("cannot remove {}", unpacked.display()))?;
                }
                let packed = folder.path().join(format!("{stem}.crate"));
                if packed.exists() {
                    fs::remove_file(&packed)
                        .with_context(|| format!("cannot remove {}", packed.display()))?;
                }
            }
        }
    }
    Ok(())
}

/// A registry shows these, and users search by them.
fn described(package: &Package) -> Result<()> {
    let lacks = [
        ("description", package.description.is_none()),
        ("license", package.license.is_none()),
        ("repository", package.repository.is_none()),
        ("readme", package.readme.is_none()),
        ("keywords", package.keywords.is_empty()),
        ("categories", package.categories.is_empty()),
    ];
    let lacks: Vec<&str> =
        lacks.iter().filter(|(_, lacks)| *lacks).map(|(field, _)| *field).collect();
    if lacks.is_empty() {
        return Ok(());
    }
    bail!("{} lacks {} in its manifest", package.name, lacks.join(", "));
}

fn has_own_dependencies(package: &Package) -> bool {
    package
        .dependencies
        .iter()
        .any(|found| found.path.is_some() && found.kind != DependencyKind::Development)
}
