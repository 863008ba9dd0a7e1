//! Packages from the archives that this Debian system is configured for, without installing any.
//!
//! apt gets a state folder of its own, for one architecture, with no package installed. So packages
//! of a foreign architecture can be fetched without `dpkg --add-architecture`, without root, and
//! without changing anything on the system. Signatures are checked as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// What to tell someone whose apt found nothing.
const ADVICE: &str = "Is the network reachable, and does /etc/apt name a Debian 12 (bookworm) \
                      archive? Try `apt-get update`.";

/// The archives as seen by one architecture.
pub struct Archive {
    arch: &'static str,
    state: PathBuf,
    debs: PathBuf,
    /// A list of archives instead of the system's.
    sources: Option<PathBuf>,
    updated: bool,
}

/// Who signs Debian's archives, of all its releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

impl Archive {
    /// An archive that keeps its state and its downloads below `folder`; nothing is fetched yet.
    ///
    /// # Errors
    /// The system has no apt, or the folder cannot be written.
    pub fn new(arch: &'static str, folder: &Path) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if !shell::has_program(program) {
                bail!("there is no `{program}`: this works on Debian-like systems only");
            }
        }
        let state = folder.join("apt").join(arch);
        let debs = folder.join("debs").join(arch);
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(state.join("cache/archives/partial"))?;
        fs::create_dir_all(&debs)?;
        fs::write(state.join("status"), "")?;
        Ok(Self { arch, state, debs, sources: None, updated: false })
    }

    /// The archive of another release of Debian, from where the system gets its own.
    ///
    /// # Errors
    /// As [`new`](Self::new), or the system has no archive of Debian's.
    pub fn of_release(arch: &'static str, folder: &Path, release: &str) -> Result<Self> {
        let mut own = Self::new(arch, folder)?;
        own.update()?;
        let targets = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
        let uris = shell::output(own.apt("apt-get").args(targets))?;
        let uri = uris.lines().find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
        let uri = uri.with_context(|| format!("expected an archive of Debian's. {ADVICE}"))?;
        let mut other = Self::new(arch, &folder.join(release))?;
        let sources = other.state.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {uri} {release} main\n"))?;
        other.sources = Some(sources);
        Ok(other)
    }

    fn apt(&self, program: &str) -> Command {
        let state = self.state.display();
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        for option in [
            format!("APT::Architecture={}", self.arch),
            format!("APT::Architectures={}", self.arch),
            format!("Dir::State={state}"),
            format!("Dir::State::lists={state}/lists"),
            format!("Dir::State::status={state}/status"),
            format!("Dir::Cache={state}/cache"),
            // Descriptions for graphical package managers, half of the bytes otherwise.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        if let Some(sources) = &self.sources {
            let list = format!("Dir::Etc::sourcelist={}", sources.display());
            command.args(["-o", &list, "-o", "Dir::Etc::sourceparts=-"]);
        }
        command
    }

    /// Debian's archives of `release` that the system is configured for, with its updates: the name
    /// of each and where it is.
    ///
    /// # Errors
    /// The system has no archive of that release.
    pub fn sources(&mut self, release: &str) -> Result<Vec<(String, String)>> {
        self.update()?;
        let format = "$(ORIGIN) $(CODENAME) $(REPO_URI)";
        let targets = ["indextargets", "--format", format, "Created-By: Packages"];
        let lines = shell::output(self.apt("apt-get").args(targets))?;
        let mut sources = Vec::new();
        for line in lines.lines() {
            let mut words = line.split(' ');
            let (Some("Debian"), Some(codename), Some(uri)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let source = (codename.to_owned(), uri.to_owned());
            if codename.starts_with(release) && !sources.contains(&source) {
                sources.push(source);
            }
        }
        if !sources.iter().any(|(codename, _)| codename == release) {
            bail!("expected an archive of {release}. {ADVICE}");
        }
        Ok(sources)
    }

    /// Fetches the package lists, once.
    fn update(&mut self) -> Result<()> {
        if self.updated {
            return Ok(());
        }
        // Offline, apt only warns and succeeds: the caller notices that it finds no packages. An
        // unrelated archive that fails must not stop us either.
        shell::output(self.apt("apt-get").arg("update")).context(ADVICE)?;
        self.updated = true;
        Ok(())
    }

    /// Names of the packages that begin with `prefix` and can be fetched now.
    ///
    /// # Errors
    /// apt fails.
    pub fn names(&mut self, prefix: &str) -> Result<Vec<String>> {
        self.update()?;
        let names = shell::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Whether the archive holds the package: apt also knows names that others merely mention.
    ///
    /// # Errors
    /// apt fails.
    pub fn holds(&mut self, name: &str) -> Result<bool> {
        self.update()?;
        let versions = shell::output(self.apt("apt-cache").args(["madison", name]))?;
        Ok(!versions.trim().is_empty())
    }

    /// The package's file: one fetched earlier, else the newest from the archive.
    ///
    /// # Errors
    /// The package cannot be fetched; the message says what to do.
    pub fn fetch(&mut self, name: &str) -> Result<PathBuf> {
        if let Some(path) = deb_in(&self.debs, name)? {
            return Ok(path);
        }
        self.update()?;
        // apt writes in place: a download that is cut off must not look like a package.
        let partial = self.debs.join(format!("partial-{}", std::process::id()));
        fs::create_dir_all(&partial)?;
        let download =
            shell::output(self.apt("apt-get").args(["download", name]).current_dir(&partial));
        if let Err(error) = download {
            fs::remove_dir_all(&partial)?;
            return Err(error.context(format!("cannot fetch {name}. {ADVICE}")));
        }
        let fetched = deb_in(&partial, name)?.context("apt-get download left no package")?;
        let path = self.debs.join(fetched.file_name().context("a package has a file name")?);
        fs::rename(&fetched, &path)?;
        fs::remove_dir_all(&partial)?;
        Ok(path)
    }

    /// Unpacks a package below `folder`.
    ///
    /// # Errors
    /// The package is damaged; it is deleted, so that the next run fetches it again.
    pub fn unpack(&self, package: &Path, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let unpacked = shell::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder));
        if let Err(error) = unpacked {
            fs::remove_file(package)?;
            return Err(error.context("a damaged package was deleted; run this again"));
        }
        Ok(())
    }
}

/// What apt calls the file: `NAME_VERSION_ARCH.deb`.
fn deb_in(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file.ends_with(".deb") && file.split('_').next() == Some(name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// The advice, for errors that callers make out of empty answers.
pub fn advice() -> &'static str {
    ADVICE
}
