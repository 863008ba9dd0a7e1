//! `pack --from-latest-json`: a release as KubeSolo OS publishes it becomes a bundle, once its
//! publisher's signature and digests were verified.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use stillboot::format::{Architecture, Digest, Manifest, Role};
use stillboot::verify::{Sha256 as _, SoftSha256};
use stillboot_policy::json::latest::key_from_hex;
use stillboot_policy::json::{Latest, LatestError};

use stillboot_linux::open;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::pack::describe;
use crate::pack::settings::Settings;
use crate::{files, view};

/// Options about a release to pack again.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "From a KubeSolo OS release")]
pub struct LatestArgs {
    /// Its latest.json; version, channel, architecture and least version come from there, and the
    /// files given as --kernel and --initramfs must be the ones it names
    #[arg(long, value_name = "FILE", requires = "sig", requires = "latest_key")]
    from_latest_json: Option<PathBuf>,
    /// The signature of latest.json: 64 bytes, or 128 hexadecimal digits
    #[arg(long, value_name = "FILE", requires = "from_latest_json")]
    sig: Option<PathBuf>,
    /// The publisher's public key: 64 hexadecimal digits, or a file that holds them
    #[arg(long, value_name = "HEX|FILE", requires = "from_latest_json")]
    latest_key: Option<String>,
    /// The publisher's signature of the kernel, to be checked too
    #[arg(long, value_name = "FILE", requires = "from_latest_json")]
    kernel_sig: Option<PathBuf>,
    /// The publisher's signature of the initramfs, to be checked too
    #[arg(long, value_name = "FILE", requires = "from_latest_json")]
    initramfs_sig: Option<PathBuf>,
}

/// What the publisher says of the files: to be compared with what was packed.
pub struct Promised {
    digests: [(Role, Digest); 2],
}

impl LatestArgs {
    /// Every file that these options name.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.from_latest_json, &self.sig, &self.kernel_sig, &self.initramfs_sig];
        let files = files.into_iter().flatten().map(PathBuf::as_path);
        // A key that is given as digits is not the path of a file, which does no harm here.
        files.chain(self.latest_key.as_deref().map(Path::new))
    }

    /// Verifies the release, if one is given, and fills in what it says of itself. What is given by
    /// other options as well must be the same.
    pub fn merge_into(
        &self,
        settings: &mut Settings,
        out: &Output,
    ) -> Result<Option<Promised>, Failure> {
        let (Some(path), Some(sig), Some(key)) =
            (&self.from_latest_json, &self.sig, &self.latest_key)
        else {
            return Ok(None);
        };
        let document = files::read(path)?;
        let signature = files::read(sig)?;
        let key = read_key(key)?;
        let latest = Latest::verify::<SoftSha256>(&document, &signature, &key)
            .map_err(|error| refused(path, &error))?;

        // As in the document, a leading v is not part of the version.
        let digits = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        if let Some(given) = &mut settings.version
            && let Some(rest) = given.strip_prefix('v').filter(|rest| digits(rest))
        {
            *given = rest.to_owned();
        }
        agree("version", &mut settings.version, latest.version())?;
        if !latest.min_from().is_empty() {
            agree("min-from", &mut settings.min_from, latest.min_from())?;
        }
        if latest.architecture() != Architecture::Any {
            agree("architecture", &mut settings.architecture, latest.architecture().name())?;
        }
        lay_channel(&latest, settings, path)?;

        let pairs = [
            (Role::Kernel, latest.kernel(), &settings.kernel, &self.kernel_sig),
            (Role::Initramfs, latest.initramfs(), &settings.initramfs, &self.initramfs_sig),
        ];
        for (role, file, local, sig) in pairs {
            let local = local.as_deref().ok_or_else(|| {
                Failure::usage(format_args!(
                    "the {role} is missing: expected --{role} FILE, what {} offers at {}",
                    path.display(),
                    file.url
                ))
            })?;
            if let Some(sig) = sig {
                check_file(&latest, local, sig, &file.sha256)?;
            }
        }
        out.line(format_args!(
            "{}: version {}, signed by {}",
            path.display(),
            latest.version(),
            view::hex(&key)
        ));
        Ok(Some(Promised { digests: pairs.map(|(role, file, ..)| (role, file.sha256)) }))
    }
}

impl Promised {
    /// Holds what was packed against what the publisher signed.
    pub fn check(&self, manifest: &Manifest) -> Result<(), Failure> {
        for (role, expected) in &self.digests {
            let mut found = manifest.components.iter().filter(|part| part.role == *role).peekable();
            if found.peek().is_none() {
                return Err(Failure::usage(format_args!("the {role} is missing in the bundle")));
            }
            for component in found {
                if component.sha256 != *expected {
                    return Err(other_file(role.name(), expected, &component.sha256));
                }
            }
        }
        Ok(())
    }
}

fn other_file(name: &str, expected: &Digest, found: &Digest) -> Failure {
    Failure::new(
        Exit::Refused,
        "content",
        format_args!(
            "the {name} is not the one of the release: expected SHA-256 {}, found {}; fetch it \
             again",
            view::hex(expected),
            view::hex(found)
        ),
    )
}

fn read_key(text: &str) -> Result<[u8; 32], Failure> {
    if let Ok(key) = key_from_hex(text.as_bytes()) {
        return Ok(key);
    }
    let path = Path::new(text);
    key_from_hex(&files::read(path)?).map_err(|error| {
        Failure::new(Exit::Failed, "key", format_args!("{}: {error}", path.display()))
    })
}

/// Signatures that do not hold, and everything else that is wrong with a document.
fn refused(path: &Path, error: &LatestError) -> Failure {
    let kind = match error {
        LatestError::Signature
        | LatestError::SignatureForm { .. }
        | LatestError::WeakKey
        | LatestError::TestKey => "trust",
        _ => "latest",
    };
    Failure::new(Exit::Refused, kind, format_args!("{} is refused: {error}", path.display()))
        .also("take a release that its publisher signed as it is")
}

/// Takes `said` for a setting that is not given, and refuses one that differs.
fn agree(name: &str, given: &mut Option<String>, said: &str) -> Result<(), Failure> {
    match given {
        Some(given) if given != said => Err(Failure::usage(format_args!(
            "{name}: the release says `{said}`, found `{given}`: leave the option out"
        ))),
        _ => {
            *given = Some(said.to_owned());
            Ok(())
        }
    }
}

/// The channel of that format becomes a risk; the track may be chosen, the risk may not.
fn lay_channel(latest: &Latest<'_>, settings: &mut Settings, path: &Path) -> Result<(), Failure> {
    let given = settings.channel.as_deref().map(describe::channel).transpose()?;
    match (latest.risk(), given) {
        (None, None) => Err(Failure::usage(format_args!(
            "{} is on the channel `{}`, which is not one of our risks: expected --channel \
             TRACK/RISK to say where the bundle is offered",
            path.display(),
            latest.channel()
        ))),
        (Some(risk), Some(given)) if !latest.channel().is_empty() && given.risk != risk => {
            Err(Failure::usage(format_args!(
                "channel: the release is on `{risk}`, found `{}`: promote the bundle instead",
                given.risk
            )))
        }
        (_, Some(_)) => Ok(()),
        (Some(risk), None) => {
            settings.channel = Some(format!("latest/{risk}"));
            Ok(())
        }
    }
}

/// Checks the publisher's signature over a file, which must be the one of the release.
fn check_file(
    latest: &Latest<'_>,
    path: &Path,
    sig: &Path,
    expected: &Digest,
) -> Result<(), Failure> {
    let mut check = latest.file_check(&files::read(sig)?).map_err(|error| refused(sig, &error))?;
    let failed = |error| Failure::system("read", path, &error);
    let mut file = open::input(path).map_err(failed)?;
    let mut digest = SoftSha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                digest.update(&buffer[..n]);
                check.update(&buffer[..n]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    // The packed file is compared with the same digest, so the signed file is the packed one.
    let found = digest.finish();
    if found != *expected {
        return Err(other_file(&path.display().to_string(), expected, &found));
    }
    check.finish().map_err(|error| refused(sig, &error))
}
