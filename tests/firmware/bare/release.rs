//! The loader, built for this test's publisher, and bundles of Debian's kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use stillboot::format::manifest::flags;
use stillboot::format::{Architecture, Load, Manifest, Role, SlotKind};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::chores::{self, root, succeed, xtask};

/// Seed of the publisher that the loader trusts.
const PUBLISHER: u64 = 8;

/// The class of every [`Publisher`]'s device.
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

/// The loader as it would be shipped.
pub fn loader() -> &'static Path {
    static LOADER: OnceLock<PathBuf> = OnceLock::new();
    LOADER.get_or_init(|| {
        let out = folder().join("arm64-bare");
        let mut xtask = xtask();
        xtask.args(["bare", "--class", CLASS, "--revision", REVISION]);
        succeed(xtask.arg("--roots").arg(roots()).arg("--out").arg(&out));
        out
    })
}

/// What hides the SHA-2 instructions, as a flash image.
pub fn hider() -> &'static Path {
    static HIDER: OnceLock<PathBuf> = OnceLock::new();
    HIDER.get_or_init(|| {
        let out = folder().join("without_sha2");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition", "2024", "--target", "aarch64-unknown-none", "-Cpanic=abort"]);
        // Flat, from the first byte of the machine's flash.
        rustc
            .args([
                "-Clink-arg=--oformat=binary",
                "-Clink-arg=--image-base=0",
                "-Clink-arg=-Ttext=0",
                "-o",
            ])
            .arg(&out);
        succeed(rustc.arg(root().join("tests/firmware/bare/without_sha2.rs")));
        out
    })
}

/// The tool for that architecture, and beside it the same as an archive for an initramfs.
fn static_tool(arch: &str) -> PathBuf {
    succeed(xtask().args(["static-tool", "--arch", arch, "--out"]).arg(folder()));
    folder().join(format!("stillboot-{arch}"))
}

/// The tool.
pub fn tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| static_tool(std::env::consts::ARCH))
}

/// The tool as the machine runs it, for its initramfs.
fn tool_archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let archive = static_tool("aarch64").with_extension("cpio.gz");
        fs::read(archive).expect("it was made with the tool")
    })
}

/// The publisher's file of roots.
pub fn roots() -> &'static Path {
    static ROOTS: OnceLock<PathBuf> = OnceLock::new();
    ROOTS.get_or_init(|| chores::roots(&folder(), &publisher()))
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

/// What userspace does, on the serial line: tell what the loader left for it, and confirm.
const TEST: &str = "#!/bin/sh
chosen=/proc/device-tree/chosen
echo \"story: proof $(tr -d '\\000' < $chosen/stillboot,proof)\"
echo \"story: bootargs $(tr -d '\\000' < $chosen/bootargs)\"
stillboot mark-good --disk /dev/vda
echo \"story: mark-good $?\"
";

/// A release of one of Debian's kernels.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    pub kernel: &'a Kernel,
    pub sequence: u64,
    /// It finds no init.
    pub panics: bool,
    /// Other bytes in the place of the kernel.
    pub image: Option<&'a [u8]>,
    /// A set of device trees, and whether it must not start without one of them.
    pub trees: Option<(&'a [u8], bool)>,
}

impl Kernel {
    /// A release of this kernel that tells its story, confirms itself and switches the machine off.
    pub fn release(&self, sequence: u64) -> Release<'_> {
        Release { kernel: self, sequence, panics: false, image: None, trees: None }
    }
}

impl Release<'_> {
    /// The signed bundle.
    pub fn bundle(&self) -> Vec<u8> {
        let publisher = publisher();
        let mut manifest = Manifest {
            architecture: Architecture::Aarch64,
            chunk_size: 64 << 10,
            ..publisher.manifest(self.sequence)
        };
        if self.trees.is_some_and(|(_, is_required)| is_required) {
            manifest.flags |= flags::DTB_REQUIRED;
        }
        let Kernel { image, initrd, cmdline, .. } = self.kernel;
        let initrd = [initrd, tool_archive(), &archive("test.sh", TEST.as_bytes())].concat();
        let cmdline = match self.panics {
            true => format!("{cmdline} rdinit=/no/such/init"),
            false => cmdline.clone(),
        };
        let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
        let mut pieces = vec![
            piece(Role::Kernel, self.image.unwrap_or(image)),
            piece(Role::Initramfs, &initrd),
            piece(Role::Cmdline, cmdline.as_bytes()),
        ];
        pieces.extend(self.trees.map(|(set, _)| piece(Role::Dtbs, set)));
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
