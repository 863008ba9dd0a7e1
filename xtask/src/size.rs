//! `cargo xtask size`: how much flash the core takes on a microcontroller, against fixed limits;
//! with `--all`, on four targets, and on one of them with a nightly toolchain that builds the
//! standard library again, as a table for `docs/BENCHMARKS.md`.
//!
//! Each part of the core is linked into a program for thumbv7em whose device calls lead out of it;
//! counted are code and read-only data. Unwinding tables (`.ARM.exidx`) are shown but not counted:
//! a loader discards them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

use crate::shell;
use crate::steps::Lane;

/// The measured crates, smallest first. `crypto` is the floor under those that verify: one digest
/// and one signature.
const PARTS: &[&str] =
    &["crypto", "a-decision", "b-single", "b-verify", "c-install", "b-log", "c-log", "c-framed"];

/// What is built together. Features of packages that are built together are united, and `b-single`
/// is measured for one that it does without, the logs for one that only they have.
const BUILDS: &[&[&str]] = &[
    &["crypto", "a-decision", "b-verify", "c-install"],
    &["b-single"],
    &["b-log", "c-log"],
    &["c-framed"],
];

/// The core's own part of a verification: what it takes without the floor.
const OWN: &str = "b-verify-own";

/// The target and optimisation that have limits.
const TARGET: &str = "thumbv7em-none-eabi";
const LEVEL: &str = "z";

/// What `--all` measures.
const TARGETS: &[&str] =
    &[TARGET, "thumbv6m-none-eabi", "riscv32imac-unknown-none-elf", "aarch64-unknown-none"];
const LEVELS: &[&str] = &[LEVEL, "s"];

/// Which toolchain builds, and what with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    /// The toolchain that runs this program, and `core` as it comes with it.
    Shipped,
    /// Nightly, which builds `core` with the profile of the measured crates: for size, and with
    /// panics that end at once and format no message.
    Rebuilt,
}

impl Library {
    /// Where it is built: the two have artifacts of the same names.
    fn target(self) -> PathBuf {
        match self {
            Self::Shipped => Lane::Size.target(),
            Self::Rebuilt => Lane::Size.target().join("build-std"),
        }
    }

    fn cargo(self) -> Command {
        match self {
            Self::Shipped => shell::cargo(),
            Self::Rebuilt => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
                command
            }
        }
    }

    /// What cargo is given besides.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Shipped => &[],
            Self::Rebuilt => &[
                "-Zbuild-std=core",
                "-Zbuild-std-features=optimize_for_size",
                "-Zpanic-immediate-abort",
                "--config=profile.release.panic=\"immediate-abort\"",
            ],
        }
    }
}

/// What `--raise` rounds up to, so that a limit does not move with each byte.
const ROUNDING_BYTES: u64 = 1024;

/// Bytes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    code: u64,
    read_only: u64,
    unwinding: u64,
    /// Variables: the state of what a program keeps for that.
    variables: u64,
}

impl Size {
    fn counted(self) -> u64 {
        self.code + self.read_only
    }

    fn without(self, floor: Self) -> Self {
        Self {
            code: self.code.saturating_sub(floor.code),
            read_only: self.read_only.saturating_sub(floor.read_only),
            unwinding: self.unwinding.saturating_sub(floor.unwinding),
            variables: self.variables.saturating_sub(floor.variables),
        }
    }
}

/// Builds, measures and compares; with a reason to, moves the limits that are passed.
///
/// # Errors
/// A part does not compile, or is over its limit.
pub fn run(raise: Option<&str>) -> Result<()> {
    let workspace = shell::root().join("xtask/size");
    same_versions(&shell::root().join("Cargo.lock"), &workspace.join("Cargo.lock"))?;
    build(Library::Shipped, TARGET, LEVEL)?;

    let limits_path = workspace.join("limits.toml");
    let mut limits_text = fs::read_to_string(&limits_path).context("cannot read limits.toml")?;
    let limits: toml::Table = limits_text.parse().context("cannot parse limits.toml")?;
    let folder = Lane::Size.target().join(TARGET).join("release");

    println!(
        "{:<12} {:>8} {:>10} {:>8} {:>8} {:>5}   {:>10}",
        "part", "code", "read-only", "bytes", "limit", "%", "(unwinding)"
    );
    let mut over = Vec::new();
    let mut notes = Vec::new();
    let mut sizes = Vec::new();
    for part in PARTS {
        sizes.push((*part, measure(&folder.join(part))?));
    }
    let of = |name: &str| sizes.iter().find(|(part, _)| *part == name).map(|(_, size)| *size);
    let (Some(whole), Some(floor)) = (of("b-verify"), of("crypto")) else {
        bail!("the parts are not all measured");
    };
    sizes.push((OWN, whole.without(floor)));
    for (part, size) in &sizes {
        let limit = limits.get(*part).and_then(toml::Value::as_integer);
        let limit = limit.with_context(|| format!("limits.toml has no number for {part}"))?;
        let limit = u64::try_from(limit)?;
        println!(
            "{part:<12} {:>8} {:>10} {:>8} {limit:>8} {:>4}%   {:>10}",
            size.code,
            size.read_only,
            size.counted(),
            size.counted() * 100 / limit.max(1),
            size.unwinding,
        );
        notes.push(format!("{part} {}", size.counted()));
        if size.variables > 0 {
            println!("{:<12} {:>8} bytes of memory", "", size.variables);
        }
        if size.counted() <= limit {
            continue;
        }
        if let Some(reason) = raise {
            let rounded = size.counted().next_multiple_of(ROUNDING_BYTES);
            limits_text = with_limit(&limits_text, part, rounded, reason)?;
        } else {
            over.push(format!("{part} is {} bytes over its limit", size.counted() - limit));
        }
    }
    if raise.is_some() {
        fs::write(&limits_path, limits_text)?;
    }
    if !over.is_empty() {
        bail!("{}; if that is meant, run `cargo xtask size --raise REASON`", over.join(", "));
    }
    println!("note: {} bytes", notes.join(", "));
    Ok(())
}

/// Builds all parts for a target at an optimisation level.
fn build(library: Library, target: &str, level: &str) -> Result<()> {
    for packages in BUILDS {
        let mut command = library.cargo();
        command.args(["build", "--release", "--locked", "--quiet", "--target", target]);
        for package in *packages {
            command.args(["--package", package]);
        }
        shell::run(
            command
                .args(library.words())
                // There, `.cargo/config.toml` names the linker scripts and the SHA-2 variant.
                .current_dir(shell::root().join("xtask/size"))
                // They would replace the flags in that file.
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)
                .env("CARGO_TARGET_DIR", library.target()),
        )?;
    }
    Ok(())
}

/// Measures every target at every level, and writes the table of `docs/BENCHMARKS.md` again.
///
/// # Errors
/// A part does not compile, there is no nightly toolchain that can build `core`, or the page has no
/// place for the table.
pub fn run_all() -> Result<()> {
    let mut add = Command::new("rustup");
    add.args(["+nightly", "component", "add", "rust-src"]);
    shell::run(&mut add).context(
        "one row is built by a nightly toolchain: install it with `rustup toolchain install nightly`",
    )?;
    let mut table = String::from("| target | opt |");
    for part in PARTS {
        table += &format!(" {part} |");
    }
    table += "\n|---|---|";
    table += &"---:|".repeat(PARTS.len());
    table += "\n";
    let shipped = TARGETS.iter().flat_map(|target| LEVELS.iter().map(move |level| (target, level)));
    let rows = shipped.map(|(target, level)| (Library::Shipped, *target, *level)).chain([(
        Library::Rebuilt,
        TARGET,
        LEVEL,
    )]);
    for (library, target, level) in rows {
        build(library, target, level)?;
        let folder = library.target().join(target).join("release");
        let how = if library == Library::Rebuilt { ", nightly, `core` rebuilt" } else { "" };
        table += &format!("| `{target}`{how} | {level} |");
        for part in PARTS {
            table += &format!(" {} |", measure(&folder.join(part))?.counted());
        }
        table += "\n";
    }
    print!("{table}");
    let path = shell::root().join("docs/BENCHMARKS.md");
    let page = fs::read_to_string(&path).context("cannot read docs/BENCHMARKS.md")?;
    fs::write(&path, with_table(&page, "sizes", &table)?).context("cannot write docs/BENCHMARKS.md")
}

/// The page with another table between the marks of that name.
///
/// # Errors
/// The page has no such marks.
pub fn with_table(page: &str, name: &str, table: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) =
        page.split_once(&begin).with_context(|| format!("no `<!-- {name} -->` in the page"))?;
    let (_, after) =
        rest.split_once(&end).with_context(|| format!("no `<!-- /{name} -->` in the page"))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

/// Checks that what is measured is what is shipped: both workspaces lock their dependencies, and one
/// may have been updated without the other.
fn same_versions(shipped: &Path, measured: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<BTreeSet<(String, String)>> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        locked(&text).with_context(|| format!("cannot parse {}", path.display()))
    };
    let shipped = read(shipped)?;
    let mut different = Vec::new();
    for (name, version) in read(measured)? {
        let is_shared = shipped.iter().any(|(other, _)| *other == name);
        if is_shared && !shipped.contains(&(name.clone(), version.clone())) {
            different.push(format!("{name} {version}"));
        }
    }
    if !different.is_empty() {
        bail!(
            "xtask/size/Cargo.lock has other versions than Cargo.lock: {}; change them with \
             `cargo update --manifest-path xtask/size/Cargo.toml --precise VERSION NAME`",
            different.join(", "),
        );
    }
    Ok(())
}

/// Names and versions in the text of a lock file.
fn locked(text: &str) -> Result<BTreeSet<(String, String)>> {
    let lock: toml::Table = text.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let mut versions = BTreeSet::new();
    for package in packages.context("a lock file without packages")? {
        let field = |name| package.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        let name = field("name").context("a package without a name")?;
        versions.insert((name, field("version").context("a package without a version")?));
    }
    Ok(versions)
}

/// Sums up the sections of a linked program.
fn measure(program: &Path) -> Result<Size> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let file = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no ELF file", program.display()))?;
    let mut size = Size::default();
    for section in file.sections() {
        let name = section.name()?;
        if name.starts_with(".text") {
            size.code += section.size();
        } else if name.starts_with(".rodata") {
            size.read_only += section.size();
        } else if name.starts_with(".ARM.ex") {
            size.unwinding += section.size();
        } else if name.starts_with(".bss") {
            size.variables += section.size();
        } else if name.starts_with(".data") {
            // Initial values of variables take flash too. The core has none; on aarch64 `sha2` has a
            // byte, in which it notes whether the processor has instructions for it.
            size.read_only += section.size();
        }
    }
    if size.code == 0 {
        bail!("{} has no code: everything was optimised away", program.display());
    }
    Ok(size)
}

/// The text of limits.toml with another number for one part, and why; comments stay.
fn with_limit(text: &str, part: &str, limit: u64, reason: &str) -> Result<String> {
    if reason.trim().is_empty() || reason.contains('\n') {
        bail!("expected a reason of one line for the limit of {part} to be raised");
    }
    let prefix = format!("{part} = ");
    if !text.lines().any(|line| line.starts_with(&prefix)) {
        bail!("limits.toml has no line `{prefix}...`");
    }
    let lines = text.lines().map(|line| match line.starts_with(&prefix) {
        true => format!("# Raised: {}\n{prefix}{limit}\n", reason.trim()),
        false => format!("{line}\n"),
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_replaced_and_comments_stay() {
        let text = "# why\na-decision = 1\nb-verify = 2\n";
        let raised = with_limit(text, "a-decision", 4096, "a check").expect("the line is there");
        assert_eq!(raised, "# why\n# Raised: a check\na-decision = 4096\nb-verify = 2\n");
        assert!(with_limit(text, "c-install", 1, "a check").is_err());
        assert!(with_limit(text, "a-decision", 4096, " ").is_err());
    }

    #[test]
    fn the_table_of_the_page_is_replaced() {
        let page = "a\n<!-- sizes -->\nold\n<!-- /sizes -->\nb\n";
        let new = with_table(page, "sizes", "new\n").expect("the marks are there");
        assert_eq!(new, "a\n<!-- sizes -->\nnew\n<!-- /sizes -->\nb\n");
        assert!(with_table("no marks", "sizes", "new").is_err());
    }

    #[test]
    fn lock_files_are_read() {
        let text = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n";
        let versions = locked(text).expect("the text is a lock file");
        assert!(versions.contains(&("a".to_owned(), "1.2.3".to_owned())));
        assert!(locked("version = 4").is_err());
    }

    #[test]
    fn every_part_has_a_limit() {
        let text = fs::read_to_string(shell::root().join("xtask/size/limits.toml"))
            .expect("limits.toml is readable");
        let limits: toml::Table = text.parse().expect("limits.toml is valid");
        assert!(PARTS.iter().all(|part| limits.contains_key(*part)));
        assert!(limits.contains_key(OWN));
        assert_eq!(limits.len(), PARTS.len() + 1);
    }
}
