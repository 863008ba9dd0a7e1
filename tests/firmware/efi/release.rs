//! Bundles of real kernels, the tool, and disks with the loader: what everything here starts from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use stillboot::format::manifest::flags;
use stillboot::format::{Architecture, Load, Manifest, Role, SlotKind};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::chores::{roots, succeed, xtask};

use crate::machine::Arch;
use crate::sign;

/// Seed of the publisher whom the loader trusts.
const PUBLISHER: u64 = 5;

/// The class of every [`Publisher`]'s device.
pub const CLASS: &str = "simulated class";

/// What every command line of the tool has that asks who the device is. In a shell's quotes.
pub const DEVICE: &str = "--class 'simulated class' --revision 1";

/// The publisher of all genuine releases.
pub fn publisher() -> Publisher {
    Publisher::new(PUBLISHER)
}

/// What is built once for all stories.
#[derive(Debug)]
pub struct Works {
    /// The publisher's file of roots.
    pub roots: PathBuf,
    folder: PathBuf,
}

/// Builds what all stories need but disks.
pub fn works() -> &'static Works {
    static WORKS: OnceLock<Works> = OnceLock::new();
    WORKS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("efi");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        Works { roots: roots(&folder, &publisher()), folder }
    })
}

impl Works {
    /// A folder that outlives the tests, for what takes long to make.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tool, built as it runs in the machines. On the host it runs as well.
    pub fn tool(&self, arch: Arch) -> &Path {
        static TOOLS: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        TOOLS[arch as usize].get_or_init(|| {
            let mut xtask = xtask();
            xtask.args(["static-tool", "--arch", arch.name(), "--out"]).arg(&self.folder);
            succeed(&mut xtask);
            self.folder.join(format!("stillboot-{}", arch.name()))
        })
    }

    /// What the tool prints on the host, asked to do something.
    pub fn on_host(&self, words: &[&str]) -> String {
        let host = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };
        succeed(Command::new(self.tool(host)).args(words))
    }
}

/// Which kernel a release has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The cloud kernels by age, the oldest is 0.
    Cloud(usize),
    /// The one with drivers of real hardware.
    Generic,
}

impl Kernel {
    /// Its version, as `uname -r` says it.
    pub fn version(self, arch: Arch) -> String {
        let folder = kernels(arch);
        let (file, line) = match self {
            Self::Cloud(age) => ("index.txt", age),
            Self::Generic => ("generic.txt", 0),
        };
        let text = fs::read_to_string(folder.join(file));
        let text = text.expect("`cargo xtask kernels` has fetched the kernels");
        text.lines().nth(line).expect("there is such a kernel").to_owned()
    }

    pub fn read(self, arch: Arch, file: &str) -> Vec<u8> {
        let path = kernels(arch).join(self.version(arch)).join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Where the kernels of an architecture are.
pub fn kernels(arch: Arch) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("target/kernels").join(arch.debian())
}

/// A release to be made.
#[derive(Clone, Debug)]
pub struct Release {
    pub arch: Arch,
    /// Its sequence; the version follows from it.
    pub number: u64,
    pub level: u32,
    pub kernel: Kernel,
    pub recovery: bool,
    /// One component instead of three.
    pub unified: bool,
    /// A set of device trees, and whether one of them is required.
    pub trees: Option<(Vec<u8>, bool)>,
    /// Its kernel tells what it finds.
    pub talkative: bool,
    pub signature: Signature,
    /// What it has in the place of its kernel.
    pub instead: Option<Vec<u8>>,
}

/// The signer of what the firmware starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Debian, whom the test's firmware does not know.
    Debian,
    /// The signer that the test's firmware trusts.
    Ours,
    /// It is not signed.
    Missing,
}

impl Release {
    /// Release `number` with the cloud kernel of this age.
    pub fn new(arch: Arch, number: u64, age: usize) -> Self {
        let kernel = Kernel::Cloud(age);
        Self {
            arch,
            number,
            level: 1,
            kernel,
            recovery: false,
            unified: false,
            trees: None,
            talkative: false,
            signature: Signature::Debian,
            instead: None,
        }
    }

    fn kind(&self) -> SlotKind {
        if self.recovery { SlotKind::Recovery } else { SlotKind::Update }
    }

    /// What its kernel calls itself.
    pub fn kernel_version(&self) -> String {
        self.kernel.version(self.arch)
    }

    fn manifest(&self) -> Manifest {
        let mut manifest = publisher().manifest(self.number);
        manifest.level = self.level;
        manifest.chunk_size = 256 << 10;
        if self.trees.as_ref().is_some_and(|(_, is_required)| *is_required) {
            manifest.flags |= flags::DTB_REQUIRED;
        }
        manifest.architecture = match self.arch {
            Arch::X86_64 => Architecture::X86_64,
            Arch::Aarch64 => Architecture::Aarch64,
        };
        manifest
    }

    /// Kernel, initial file system with the tool in it, and command line.
    pub fn parts(&self) -> [(Role, Vec<u8>); 3] {
        let tool = works().tool(self.arch).with_extension("cpio.gz");
        let mut initramfs = self.kernel.read(self.arch, "initrd.img");
        // The kernel unpacks both, one over the other.
        initramfs.extend(fs::read(tool).expect("it was made with the tool"));
        let mut cmdline = format!("{} stillboot.commands", self.arch.cmdline());
        if self.talkative {
            cmdline = cmdline.replace(" quiet", "");
        }
        let kernel = self.kernel.read(self.arch, "vmlinuz");
        if let Some(kernel) = self.instead.clone() {
            return [
                (Role::Kernel, kernel),
                (Role::Initramfs, vec![7]),
                (Role::Cmdline, vec![b'x']),
            ];
        }
        let kernel = match self.signature {
            Signature::Debian => kernel,
            Signature::Ours => sign::sign(&kernel),
            Signature::Missing => sign::strip(&kernel),
        };
        [
            (Role::Kernel, kernel),
            (Role::Initramfs, initramfs),
            (Role::Cmdline, cmdline.into_bytes()),
        ]
    }

    /// The signed bundle.
    pub fn bundle(&self) -> Vec<u8> {
        let mut parts = self.parts().to_vec();
        if self.unified {
            let [kernel, initramfs, cmdline] = self.parts().map(|(_, bytes)| bytes);
            let mut uki = crate::uki::build(self.arch, &kernel, &initramfs, &cmdline);
            if self.signature == Signature::Ours {
                uki = sign::sign(&uki);
            }
            parts = vec![(Role::Uki, uki)];
        }
        if let Some((set, _)) = &self.trees {
            parts.push((Role::Dtbs, set.clone()));
        }
        let pieces: Vec<_> = parts
            .iter()
            .map(|(role, bytes)| Piece { role: *role, load: Load::Ram, linked: None, bytes })
            .collect();
        let bundle = publisher().bundle(self.manifest(), self.kind(), &pieces);
        bundle.expect("a sound release")
    }

    /// The bundle as a file that outlives the tests.
    pub fn file(&self) -> PathBuf {
        let kind = if self.recovery { "recovery" } else { "update" };
        let name = format!("{}-{}-{kind}.sbb", self.arch.name(), self.number);
        let path = works().folder().join(name);
        fs::write(&path, self.bundle()).expect("the target folder can be written");
        path
    }
}
