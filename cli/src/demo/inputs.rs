//! What the demo packs: real kernels where there are any, and a correct statement of where they are
//! from.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use stillboot::format::Architecture;
use stillboot_sim::disk::Random;

/// Most systems that the story needs: one to run, one to update to, one to go on to.
pub const SYSTEMS_MAX: usize = 3;

/// One system to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// What it is, for people.
    pub name: String,
    /// The kernel's bytes.
    pub kernel: Rc<Vec<u8>>,
    /// The initramfs's bytes.
    pub initramfs: Rc<Vec<u8>>,
    /// The kernel's command line.
    pub cmdline: String,
}

/// The systems, oldest first, and where they are from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// A sentence about where they are from.
    pub origin: String,
    /// 1 to [`SYSTEMS_MAX`] of them.
    pub systems: Vec<System>,
    /// What they run on.
    pub architecture: Architecture,
}

/// Where the files of one system are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    name: String,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// `None` for a command line that the demo makes up.
    cmdline: Option<PathBuf>,
}

/// A panic restarts the machine, so that a trial that fails is counted and does not hang.
const CMDLINE: &str = "panic=1";

/// Finds the systems: those that are given, else those that `cargo xtask kernels` fetched, else
/// those of `/boot`, else made-up bytes.
///
/// # Errors
/// What is given, or was fetched, cannot be read.
pub fn find(kernels: &[PathBuf], initrds: &[PathBuf], random: &mut Random) -> Result<Inputs> {
    if !kernels.is_empty() || !initrds.is_empty() {
        let systems = read_all(&given(kernels, initrds)?)?;
        let origin = "files given by --kernel and --initrd".to_owned();
        // The demo cannot tell what a given kernel runs on.
        return Ok(Inputs { origin, systems, architecture: Architecture::Any });
    }
    let host = host();
    if let Some((folder, architecture)) = host {
        let mut roots = vec![PathBuf::from(".")];
        // The checkout that this was built from, whatever the current folder is.
        roots.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        for root in roots {
            let files = fetched(&root.join("target/kernels").join(folder));
            if !files.is_empty() {
                let origin = "Debian kernels fetched by `cargo xtask kernels`".to_owned();
                return Ok(Inputs { origin, systems: read_all(&files)?, architecture });
            }
        }
    }
    let installed = installed(Path::new("/boot"));
    // Often only root may read them. That is not an error.
    if let Ok(systems) = read_all(&installed)
        && !systems.is_empty()
    {
        let architecture = host.map_or(Architecture::Any, |(_, architecture)| architecture);
        let origin = "kernels of this machine, from /boot".to_owned();
        return Ok(Inputs { origin, systems, architecture });
    }
    let why = if installed.is_empty() { "has none" } else { "cannot be read" };
    let origin = format!(
        "made-up data, no real kernel: none was fetched and /boot {why}; run `cargo xtask kernels`"
    );
    Ok(Inputs { origin, systems: made_up(random), architecture: Architecture::Any })
}

/// Debian's name for the host's architecture, and ours.
fn host() -> Option<(&'static str, Architecture)> {
    match std::env::consts::ARCH {
        "x86_64" => Some(("amd64", Architecture::X86_64)),
        "aarch64" => Some(("arm64", Architecture::Aarch64)),
        _ => None,
    }
}

fn given(kernels: &[PathBuf], initrds: &[PathBuf]) -> Result<Vec<Files>> {
    if kernels.is_empty() || initrds.is_empty() {
        bail!("expected both --kernel and --initrd, found only one of them");
    }
    if kernels.len() > SYSTEMS_MAX {
        bail!("expected at most {SYSTEMS_MAX} kernels, oldest first, found {}", kernels.len());
    }
    if initrds.len() != 1 && initrds.len() != kernels.len() {
        bail!(
            "expected one --initrd, or one for each --kernel in the same order; found {} for {} \
             kernels",
            initrds.len(),
            kernels.len()
        );
    }
    let files = kernels.iter().enumerate().map(|(at, kernel)| Files {
        name: kernel.file_name().unwrap_or(kernel.as_os_str()).to_string_lossy().into_owned(),
        kernel: kernel.clone(),
        initramfs: initrds[at.min(initrds.len() - 1)].clone(),
        cmdline: None,
    });
    Ok(files.collect())
}

/// What `cargo xtask kernels` put into `folder`, oldest first; nothing unless all of it is there.
fn fetched(folder: &Path) -> Vec<Files> {
    let Ok(index) = fs::read_to_string(folder.join("index.txt")) else { return Vec::new() };
    let files: Vec<Files> = index
        .lines()
        .filter(|version| !version.is_empty())
        .map(|version| Files {
            name: version.to_owned(),
            kernel: folder.join(version).join("vmlinuz"),
            initramfs: folder.join(version).join("initrd.img"),
            cmdline: Some(folder.join(version).join("cmdline")),
        })
        .collect();
    let whole = |files: &Files| files.kernel.is_file() && files.initramfs.is_file();
    if files.iter().all(whole) { newest(files) } else { Vec::new() }
}

/// The kernels in `folder` that have an initramfs beside them, oldest first.
fn installed(folder: &Path) -> Vec<Files> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut versions: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .collect();
    versions.sort_by(|one, other| compare_versions(one, other));
    let files = versions.into_iter().filter_map(|version| {
        let names = [
            format!("initrd.img-{version}"),
            format!("initramfs-{version}.img"),
            format!("initrd-{version}"),
        ];
        let initramfs = names.iter().map(|name| folder.join(name)).find(|path| path.is_file())?;
        let kernel = folder.join(format!("vmlinuz-{version}"));
        Some(Files { name: version, kernel, initramfs, cmdline: None })
    });
    newest(files.collect())
}

/// The last ones: the story needs no more.
fn newest(mut files: Vec<Files>) -> Vec<Files> {
    files.split_off(files.len().saturating_sub(SYSTEMS_MAX))
}

/// Compares numbers by value, and everything else as text.
fn compare_versions(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        match (one.is_empty(), other.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let (text, rest_of_one) = split(one, |c| !c.is_ascii_digit());
        let (other_text, rest_of_other) = split(other, |c| !c.is_ascii_digit());
        let (digits, rest_of_one) = split(rest_of_one, |c| c.is_ascii_digit());
        let (other_digits, rest_of_other) = split(rest_of_other, |c| c.is_ascii_digit());
        let order = text.cmp(other_text).then_with(|| {
            let (digits, other_digits) =
                (digits.trim_start_matches('0'), other_digits.trim_start_matches('0'));
            digits.len().cmp(&other_digits.len()).then(digits.cmp(other_digits))
        });
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest_of_one, rest_of_other);
    }
}

/// The longest start of `text` of which every character fits, and the rest.
fn split(text: &str, fits: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !fits(c)).unwrap_or(text.len()))
}

fn read_all(files: &[Files]) -> Result<Vec<System>> {
    files.iter().map(read).collect()
}

fn read(files: &Files) -> Result<System> {
    let bytes = |path: &Path| -> Result<Vec<u8>> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.is_empty() {
            bail!("{} is empty", path.display());
        }
        Ok(bytes)
    };
    let cmdline = match &files.cmdline {
        Some(path) => String::from_utf8_lossy(&bytes(path)?).trim().to_owned(),
        None => CMDLINE.to_owned(),
    };
    Ok(System {
        name: files.name.clone(),
        kernel: Rc::new(bytes(&files.kernel)?),
        initramfs: Rc::new(bytes(&files.initramfs)?),
        cmdline,
    })
}

/// Random bytes of a kernel's size. Each system shares most of its bytes with the one before, as
/// images that are not compressed do.
fn made_up(random: &mut Random) -> Vec<System> {
    let mut kernel = vec![0; 8 << 20];
    let mut initramfs = vec![0; 2 << 20];
    random.fill(&mut kernel);
    random.fill(&mut initramfs);
    (1..=SYSTEMS_MAX)
        .map(|number| {
            for bytes in [&mut kernel, &mut initramfs] {
                let half = bytes.len() / 2;
                random.fill(&mut bytes[half..]);
            }
            System {
                name: format!("made-up system {number}"),
                kernel: Rc::new(kernel.clone()),
                initramfs: Rc::new(initramfs.clone()),
                cmdline: CMDLINE.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    fn names(files: &[Files]) -> Vec<&str> {
        files.iter().map(|files| files.name.as_str()).collect()
    }

    #[test]
    fn versions_compare_as_people_count() {
        for (lower, higher) in [
            ("6.1.0-9-amd64", "6.1.0-10-amd64"),
            ("5.15", "6.1"),
            ("6.1", "6.1.1"),
            ("6.1.0-54-amd64", "6.1.0-54-cloud"),
            ("6.08", "6.9"),
        ] {
            assert_eq!(compare_versions(lower, higher), Ordering::Less, "{lower} {higher}");
            assert_eq!(compare_versions(higher, lower), Ordering::Greater, "{lower} {higher}");
            assert_eq!(compare_versions(lower, lower), Ordering::Equal);
        }
    }

    #[test]
    fn fetched_kernels_keep_the_order_of_their_index() {
        let folder = folder(&["2/vmlinuz", "2/initrd.img", "10/vmlinuz", "10/initrd.img"]);
        fs::write(folder.path().join("index.txt"), "10\n2\n").unwrap();
        let files = fetched(folder.path());
        assert_eq!(names(&files), ["10", "2"]);
        assert_eq!(files[0].cmdline, Some(folder.path().join("10/cmdline")));
    }

    #[test]
    fn fetched_kernels_count_only_when_all_are_there() {
        let folder = folder(&["1/vmlinuz", "1/initrd.img", "2/vmlinuz"]);
        assert_eq!(fetched(folder.path()), []);
        fs::write(folder.path().join("index.txt"), "1\n2\n").unwrap();
        assert_eq!(fetched(folder.path()), []);
    }

    #[test]
    fn installed_kernels_need_an_initramfs_and_the_newest_three_are_taken() {
        let folder = folder(&[
            "vmlinuz-6.1.0-9",
            "initrd.img-6.1.0-9",
            "vmlinuz-6.1.0-10",
            "initramfs-6.1.0-10.img",
            "vmlinuz-6.1.0-2",
            "initrd-6.1.0-2",
            "vmlinuz-6.1.0-1",
            "initrd.img-6.1.0-1",
            "vmlinuz-7",
            "config-6.1.0-9",
        ]);
        let files = installed(folder.path());
        assert_eq!(names(&files), ["6.1.0-2", "6.1.0-9", "6.1.0-10"]);
        assert_eq!(files[2].initramfs, folder.path().join("initramfs-6.1.0-10.img"));
        assert_eq!(installed(&folder.path().join("absent")), []);
    }

    #[test]
    fn given_files_pair_up() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let files = given(&paths(&["x/k1", "x/k2"]), &paths(&["i"])).unwrap();
        assert_eq!(names(&files), ["k1", "k2"]);
        assert_eq!(files[1].initramfs, PathBuf::from("i"));
        let files = given(&paths(&["k1", "k2"]), &paths(&["i1", "i2"])).unwrap();
        assert_eq!(files[1].initramfs, PathBuf::from("i2"));
        for (kernels, initrds) in [
            (&["k"][..], &[][..]),
            (&[], &["i"]),
            (&["k"], &["i", "j"]),
            (&["1", "2", "3"], &["i", "j"]),
            (&["1", "2", "3", "4"], &["i"]),
        ] {
            assert!(given(&paths(kernels), &paths(initrds)).is_err(), "{kernels:?} {initrds:?}");
        }
    }

    #[test]
    fn missing_file_is_named() {
        let files = given(&[PathBuf::from("/absent/kernel")], &[PathBuf::from("i")]).unwrap();
        let error = format!("{:#}", read_all(&files).unwrap_err());
        assert!(error.contains("/absent/kernel"), "{error}");
    }

    #[test]
    fn made_up_systems_follow_from_the_seed() {
        let one = made_up(&mut Random::new(1));
        assert_eq!(one, made_up(&mut Random::new(1)));
        assert_ne!(one, made_up(&mut Random::new(2)));
        assert_ne!(one[0].kernel, one[1].kernel);
    }
}
