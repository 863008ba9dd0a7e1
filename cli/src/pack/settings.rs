//! What the manifest says of a bundle: the same names as options and in a TOML file.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use stillboot::format::{Load, Role, Slot};
use stillboot_release::settings;

use crate::args;
use crate::failure::Failure;
use crate::files;

/// Everything that is said of a bundle. What is not given stays empty, so that the options of the
/// command line can be laid over those of a file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The product: a name, or its UUID; by default that of --roots
    #[arg(long, value_name = "NAME", help_heading = "What it is",
          value_parser = args::name)]
    pub product: Option<String>,
    /// The device class it is for: a name, or its UUID
    #[arg(long, value_name = "NAME", help_heading = "What it is",
          value_parser = args::name)]
    pub class: Option<String>,
    /// Hardware revisions it runs on; all by default
    #[arg(long, value_name = "MIN,MAX", help_heading = "What it is")]
    pub revision: Option<String>,
    /// The version: letters, digits and .-+_~; rules that compare versions need a semantic one
    #[arg(long, value_name = "VERSION", help_heading = "What it is")]
    pub version: Option<String>,
    /// The sequence number: higher than that of every earlier release
    #[arg(long, value_name = "N", help_heading = "What it is",
          value_parser = args::whole::<u64>)]
    pub sequence: Option<u64>,
    /// Security level: raise it to keep older releases from coming back [default: 0]
    #[arg(long, value_name = "N", help_heading = "What it is",
          value_parser = args::whole::<u32>)]
    pub level: Option<u32>,
    /// The oldest version that may be updated directly
    #[arg(long, value_name = "VERSION", help_heading = "What it is")]
    #[serde(alias = "min_from")]
    pub min_from: Option<String>,
    /// The channel that offers it [default: latest/stable]
    #[arg(long, value_name = "TRACK/RISK[/BRANCH]", help_heading = "What it is")]
    pub channel: Option<String>,
    /// What it runs on, such as x86_64 or aarch64 [default: any]
    #[arg(long, value_name = "NAME", help_heading = "What it is")]
    pub architecture: Option<String>,
    /// When it expires and is not installed any more: a date, or a time with its zone
    #[arg(long, value_name = "TIME", help_heading = "What it is")]
    #[serde(alias = "not_after")]
    pub not_after: Option<String>,
    /// Data epochs it reads [default: 0]
    #[arg(long, value_name = "MIN,MAX", help_heading = "What it is")]
    #[serde(alias = "reads_epochs")]
    pub reads_epochs: Option<String>,
    /// The data epoch it writes; by default the newest it reads
    #[arg(long, value_name = "N", help_heading = "What it is",
          value_parser = args::whole::<u16>)]
    #[serde(alias = "writes_epoch")]
    pub writes_epoch: Option<u16>,
    /// Percentage of devices that may take it [default: 100]
    #[arg(long, value_name = "PERCENT", help_heading = "What it is",
          value_parser = args::whole::<u8>)]
    pub rollout: Option<u8>,
    /// It fixes a security problem
    #[arg(long, help_heading = "What it is")]
    pub security: bool,
    /// Start it only with a device tree that matches the machine
    #[arg(long, help_heading = "What it is")]
    #[serde(alias = "dtb_required")]
    pub dtb_required: bool,
    /// Size of a chunk, a power of two from 4K to 1M [default: 256K]
    #[arg(long, value_name = "SIZE", help_heading = "What it is")]
    #[serde(alias = "chunk_size")]
    pub chunk_size: Option<String>,
    /// How the chunks of the file are compressed: zstd, zstd:LEVEL (1 to 22), lz4, lzma or none. By
    /// default the name of --out decides: for .sbz zstd, and lzma for microcontrollers; for any
    /// other name none
    #[arg(long, value_name = "HOW", help_heading = "What it is")]
    pub compress: Option<String>,

    /// A kernel
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub kernel: Option<PathBuf>,
    /// The kernel's initial file system
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub initramfs: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", help_heading = "Components", conflicts_with = "cmdline_file")]
    pub cmdline: Option<String>,
    /// A file with the kernel's command line
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    #[serde(alias = "cmdline_file")]
    pub cmdline_file: Option<PathBuf>,
    /// A set of device trees
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub dtbs: Option<PathBuf>,
    /// A unified kernel image
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub uki: Option<PathBuf>,
    /// A root file system
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub rootfs: Option<PathBuf>,
    /// Any other executable image
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub image: Option<PathBuf>,
    /// The hash tree of the root file system
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub verity: Option<PathBuf>,
    /// Data
    #[arg(long, value_name = "FILE", help_heading = "Components")]
    pub data: Option<PathBuf>,
    /// A boot loader: packs a release of the loader instead of an update. It has no other component
    /// and no keyset, and root keys sign it
    #[arg(long, value_name = "FILE", help_heading = "Components", conflicts_with_all = [
        "kernel", "initramfs", "cmdline", "cmdline_file", "dtbs", "uki", "rootfs", "image",
        "verity", "data", "component", "keyset", "single_key", "recovery",
    ])]
    #[serde(alias = "loader_release")]
    pub loader_release: Option<PathBuf>,
    /// A component in full: role=ROLE,file=FILE[,load=ram|xip|late][,slot=a|b|c|recovery]
    #[arg(long, value_name = "SPEC", help_heading = "Components", value_parser = component)]
    pub component: Vec<Component>,

    /// The keyset that devices check the release key against
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    pub keyset: Option<PathBuf>,
    /// Pack without a keyset, for devices that trust one built-in key
    #[arg(long, help_heading = "Signing")]
    #[serde(alias = "single_key")]
    pub single_key: bool,
    /// A secret key to sign with; several may be given
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    pub key: Vec<PathBuf>,
    /// Pack for the recovery slot, signed by recovery keys
    #[arg(long, help_heading = "Signing")]
    pub recovery: bool,
    /// The file with the product's root keys: it names the product, and the bundle is checked
    /// against it
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    pub roots: Option<PathBuf>,
}

/// One component.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// What it is for.
    #[serde(deserialize_with = "role_field")]
    pub role: Role,
    /// Where its bytes are.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Its bytes, for a command line.
    #[serde(default)]
    pub text: Option<String>,
    /// How it is loaded.
    #[serde(default, deserialize_with = "load_field")]
    pub load: Option<Load>,
    /// The only slot it is linked for.
    #[serde(default, deserialize_with = "slot_field")]
    pub slot: Option<Slot>,
}

/// Reads the file at `path`; the files it names are looked for beside it.
pub fn read(path: &Path) -> Result<Settings, Failure> {
    let text = files::read_text(path)?;
    let mut settings: Settings = toml::from_str(&text).map_err(|error| {
        Failure::usage(format_args!("{}: {}", path.display(), settings::trouble(&text, &error)))
    })?;
    if settings.cmdline.is_some() && settings.cmdline_file.is_some() {
        return Err(Failure::usage(format_args!(
            "{}: expected `cmdline` or `cmdline-file`, found both",
            path.display()
        )));
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    for file in settings.files_mut() {
        *file = beside.join(&*file);
    }
    Ok(settings)
}

impl Settings {
    /// The settings of `self`, and for those that it lacks the settings of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        // One command line replaces the other, whichever way each was given.
        let (cmdline, cmdline_file) = match (self.cmdline, self.cmdline_file) {
            (None, None) => (other.cmdline, other.cmdline_file),
            given => given,
        };
        let or_all = |mine: Vec<PathBuf>, others| if mine.is_empty() { others } else { mine };
        // A component of the same role and slot replaces the file's.
        let mut component = other.component;
        component.retain(|theirs| {
            !self.component.iter().any(|c| c.role == theirs.role && c.slot == theirs.slot)
        });
        component.extend(self.component);
        Self {
            product: self.product.or(other.product),
            class: self.class.or(other.class),
            revision: self.revision.or(other.revision),
            version: self.version.or(other.version),
            sequence: self.sequence.or(other.sequence),
            level: self.level.or(other.level),
            min_from: self.min_from.or(other.min_from),
            channel: self.channel.or(other.channel),
            architecture: self.architecture.or(other.architecture),
            not_after: self.not_after.or(other.not_after),
            reads_epochs: self.reads_epochs.or(other.reads_epochs),
            writes_epoch: self.writes_epoch.or(other.writes_epoch),
            rollout: self.rollout.or(other.rollout),
            security: self.security || other.security,
            dtb_required: self.dtb_required || other.dtb_required,
            chunk_size: self.chunk_size.or(other.chunk_size),
            compress: self.compress.or(other.compress),
            kernel: self.kernel.or(other.kernel),
            initramfs: self.initramfs.or(other.initramfs),
            cmdline,
            cmdline_file,
            dtbs: self.dtbs.or(other.dtbs),
            uki: self.uki.or(other.uki),
            rootfs: self.rootfs.or(other.rootfs),
            image: self.image.or(other.image),
            verity: self.verity.or(other.verity),
            data: self.data.or(other.data),
            loader_release: self.loader_release.or(other.loader_release),
            component,
            keyset: self.keyset.or(other.keyset),
            single_key: self.single_key || other.single_key,
            key: or_all(self.key, other.key),
            recovery: self.recovery || other.recovery,
            roots: self.roots.or(other.roots),
        }
    }

    /// All components, in the order of their roles, then as given.
    pub fn components(&self) -> Vec<Component> {
        let simple = [
            (Role::Kernel, &self.kernel),
            (Role::Initramfs, &self.initramfs),
            (Role::Cmdline, &self.cmdline_file),
            (Role::Dtbs, &self.dtbs),
            (Role::Uki, &self.uki),
            (Role::Rootfs, &self.rootfs),
            (Role::Image, &self.image),
            (Role::Data, &self.data),
            (Role::Verity, &self.verity),
        ];
        let mut all = Vec::new();
        for (role, file) in simple {
            let text = self.cmdline.clone().filter(|_| role == Role::Cmdline);
            if file.is_some() || text.is_some() {
                all.push(Component { role, file: file.clone(), text, load: None, slot: None });
            }
        }
        all.extend(self.component.iter().cloned());
        all
    }

    /// Every file that the bundle is made from.
    pub fn inputs<'a>(&'a self, config: Option<&'a Path>) -> Vec<&'a Path> {
        let options = [
            &self.kernel,
            &self.initramfs,
            &self.cmdline_file,
            &self.dtbs,
            &self.uki,
            &self.rootfs,
            &self.image,
            &self.verity,
            &self.data,
            &self.loader_release,
            &self.keyset,
            &self.roots,
        ];
        let components = self.component.iter().filter_map(|component| component.file.as_deref());
        let options = options.into_iter().flatten().map(PathBuf::as_path);
        options
            .chain(components)
            .chain(self.key.iter().map(PathBuf::as_path))
            .chain(config)
            .collect()
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let options = [
            &mut self.kernel,
            &mut self.initramfs,
            &mut self.cmdline_file,
            &mut self.dtbs,
            &mut self.uki,
            &mut self.rootfs,
            &mut self.image,
            &mut self.verity,
            &mut self.data,
            &mut self.loader_release,
            &mut self.keyset,
            &mut self.roots,
        ];
        let components = self.component.iter_mut().filter_map(|c| c.file.as_mut());
        options.into_iter().flatten().chain(components).chain(&mut self.key)
    }
}

/// A component from an option's text.
fn component(text: &str) -> Result<Component, String> {
    let (mut role, mut file, mut load, mut slot) = (None, None, None, None);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| {
            format!("expected role=ROLE,file=FILE[,load=LOAD][,slot=SLOT], found `{part}`")
        })?;
        let is_there = match key {
            "role" => role.is_some(),
            "file" => file.is_some(),
            "load" => load.is_some(),
            "slot" => slot.is_some(),
            _ => return Err(format!("expected role, file, load or slot, found `{key}`")),
        };
        if is_there {
            return Err(format!("expected {key} once, found it twice"));
        }
        match key {
            "role" => role = Some(parse_role(value)?),
            "file" => file = Some(PathBuf::from(value)),
            "load" => load = Some(parse_load(value)?),
            _ => slot = Some(args::slot(value)?),
        }
    }
    let role = role.ok_or("expected role=ROLE, found none")?;
    let file = Some(file.ok_or("expected file=FILE, found none")?);
    Ok(Component { role, file, text: None, load, slot })
}

fn parse_role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Role::ALL.iter().map(|role| role.name()).collect();
        format!("unknown component type `{name}`: expected one of {}", names.join(", "))
    })
}

fn parse_load(name: &str) -> Result<Load, String> {
    Load::from_name(name).ok_or_else(|| format!("expected load ram, xip or late, found `{name}`"))
}

fn role_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
    let name = String::deserialize(deserializer)?;
    parse_role(&name).map_err(serde::de::Error::custom)
}

fn load_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Load>, D::Error> {
    let name = String::deserialize(deserializer)?;
    parse_load(&name).map(Some).map_err(serde::de::Error::custom)
}

fn slot_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Slot>, D::Error> {
    let name = String::deserialize(deserializer)?;
    args::slot(&name).map(Some).map_err(serde::de::Error::custom)
}

/// The failure that a setting is not there.
pub fn missing(name: &str) -> Failure {
    let verb = if name == "roots" { "are" } else { "is" };
    Failure::usage(format_args!(
        "the {name} {verb} missing: expected --{name}, or `{name}` in the --config file"
    ))
}
