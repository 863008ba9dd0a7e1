//! The loader, built for this test's publisher, and bundles of Debian's kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use stillboot::format::{Architecture, Load, Manifest, Role, SlotKind};
use stillboot::verify::Trust;
use stillboot_linux::keys::Roots;
use stillboot_sim::{Piece, Publisher};

/// Seed of the publisher that the loader trusts.
const PUBLISHER: u64 = 8;

/// Names that [`Publisher`] uses.
const PRODUCT: &str = "simulated product";
pub const CLASS: &str = "simulated class";
/// The revision that its manifests are for.
pub const REVISION: &str = "1";

/// The publisher of all genuine releases.
pub fn publisher() -> Publisher {
    Publisher::new(PUBLISHER)
}

/// The folder of everything that is built.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// The top of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cargo, at the top of the checkout.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Runs a command that has to succeed.
fn succeed(command: &mut Command) {
    let status = command.status().expect("it can be started");
    assert!(status.success(), "{command:?}: {status}");
}

/// The loader as it would be shipped.
pub fn loader() -> &'static Path {
    static LOADER: OnceLock<PathBuf> = OnceLock::new();
    LOADER.get_or_init(|| {
        let out = folder().join("arm64-bare");
        let mut xtask = match std::env::var_os("STILLBOOT_XTASK") {
            Some(program) => Command::new(program),
            None => {
                let mut cargo = cargo();
                cargo.args(["--quiet", "xtask"]);
                cargo
            }
        };
        xtask.current_dir(root()).args(["bare", "--class", CLASS, "--revision", REVISION]);
        succeed(xtask.arg("--roots").arg(roots()).arg("--out").arg(&out));
        out
    })
}

/// The tool.
pub fn tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        succeed(cargo().args(["build", "--quiet", "-p", "stillboot-cli"]));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        target.expect("cargo made it inside its target folder").join("debug/stillboot")
    })
}

/// The publisher's file of roots.
pub fn roots() -> &'static Path {
    static ROOTS: OnceLock<PathBuf> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let publisher = publisher();
        let Trust::Roots { keys, threshold } = publisher.device().trust else {
            panic!("a publisher has roots");
        };
        let roots = Roots { product: PRODUCT.into(), threshold, keys: keys.to_vec() };
        let text = roots.to_toml().expect("roots can be written as TOML");
        let path = folder().join("roots.toml");
        // Only when it has to change: cargo compares times.
        if fs::read_to_string(&path).ok().as_deref() != Some(&*text) {
            let new = folder().join(format!("roots-{}.toml", std::process::id()));
            fs::write(&new, text).expect("the target folder can be written");
            fs::rename(&new, &path).expect("the target folder can be written");
        }
        path
    })
}

/// A Debian kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` has it.
    pub version: String,
    pub image: Vec<u8>,
    initrd: Vec<u8>,
    cmdline: String,
}

/// The kernel of that number, 0 for the oldest of three.
pub fn kernel(number: usize) -> Kernel {
    let folder = root().join("target/kernels/arm64");
    let read = |path: &Path| {
        fs::read(path).unwrap_or_else(|error| {
            panic!("{}: {error}: `cargo xtask kernels --arch arm64` fetches it", path.display())
        })
    };
    let text = |path: &Path| String::from_utf8(read(path)).expect("it is text");
    let index = text(&folder.join("index.txt"));
    let version = index.lines().nth(number).expect("there are three").to_owned();
    let folder = folder.join(&version);
    Kernel {
        image: read(&folder.join("vmlinuz")),
        initrd: read(&folder.join("initrd.img")),
        cmdline: text(&folder.join("cmdline")).trim().to_owned(),
        version,
    }
}

/// What userspace does, on the serial line: tell what the loader left for it, and be content.
const TEST: &str = "#!/bin/sh
chosen=/proc/device-tree/chosen
echo \"story: proof $(tr -d '\\000' < $chosen/stillboot,proof)\"
echo \"story: bootargs $(tr -d '\\000' < $chosen/bootargs)\"
echo \"story: done\"
";

impl Kernel {
    /// A release of this kernel that tells its story and switches the machine off.
    pub fn healthy(&self, sequence: u64) -> Vec<u8> {
        self.bundle(sequence, &self.image, &self.cmdline)
    }

    /// A release of this kernel that finds no init.
    pub fn panics(&self, sequence: u64) -> Vec<u8> {
        self.bundle(sequence, &self.image, &format!("{} rdinit=/no/such/init", self.cmdline))
    }

    /// A release with other bytes in the place of the kernel.
    pub fn replaced(&self, sequence: u64, image: &[u8]) -> Vec<u8> {
        self.bundle(sequence, image, &self.cmdline)
    }

    fn bundle(&self, sequence: u64, image: &[u8], cmdline: &str) -> Vec<u8> {
        let publisher = publisher();
        let manifest = Manifest {
            architecture: Architecture::Aarch64,
            chunk_size: 64 << 10,
            ..publisher.manifest(sequence)
        };
        let mut initrd = self.initrd.clone();
        initrd.extend(archive("test.sh", TEST.as_bytes()));
        let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
        let pieces = [
            piece(Role::Kernel, image),
            piece(Role::Initramfs, &initrd),
            piece(Role::Cmdline, cmdline.as_bytes()),
        ];
        publisher.bundle(manifest, SlotKind::Update, &pieces).expect("the manifest keeps the rules")
    }
}

/// A cpio archive of one program, which the kernel unpacks over what came before it.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, mode, content) in [(name, 0o100_755, content), ("TRAILER!!!", 0, &[])] {
        out.extend(b"070701");
        // Inode, mode, user, group, links, time, length, four numbers of devices, length of the
        // name, checksum.
        let numbers = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        for number in numbers {
            out.extend(format!("{number:08X}").bytes());
        }
        out.extend(name.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
