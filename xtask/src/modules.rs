//! Which kernel modules a wish needs, read from the modules themselves.
//!
//! Each module names its dependencies in its `.modinfo` section, so the index that `modprobe` reads
//! can be written here for any architecture, the same on every machine, without `depmod`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

/// The modules of one kernel.
pub struct Kernel {
    folder: PathBuf,
    /// Files by module name, relative to the folder.
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// A module with everything that it needs before it.
#[derive(Debug)]
pub struct Module {
    /// The name as `lsmod` shows it, with underscores.
    pub name: String,
    /// Where its file is, relative to the folder of the kernel's modules.
    pub file: PathBuf,
    /// What must be loaded before, the last first, as `modules.dep` lists it.
    needs: Vec<PathBuf>,
    /// By what other names the kernel asks for it.
    aliases: Vec<String>,
}

impl Kernel {
    /// Reads what is in a folder such as `lib/modules/VERSION`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let builtin = fs::read_to_string(folder.join("modules.builtin"))
            .with_context(|| format!("no modules.builtin in {}", folder.display()))?;
        let builtin = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.join("kernel")];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(&next)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = name_of(&path) {
                    files.insert(name, path.strip_prefix(folder)?.to_path_buf());
                }
            }
        }
        Ok(Self { folder: folder.to_path_buf(), files, builtin })
    }

    /// The wished modules and all that they depend on, dependencies first. A wish that the kernel
    /// has built in is fulfilled already.
    ///
    /// # Errors
    /// A module is neither there nor built in: the tests that need it could not work.
    pub fn with_dependencies(&self, wishes: &[&str]) -> Result<Vec<Module>> {
        let mut modules = Vec::new();
        for wish in wishes {
            self.visit(wish, &mut modules, &mut Vec::new())?;
        }
        Ok(modules)
    }

    fn visit(&self, name: &str, done: &mut Vec<Module>, path: &mut Vec<String>) -> Result<()> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || done.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(&name) else {
            bail!("this kernel has no module {name}, nor is it built in");
        };
        if path.contains(&name) {
            bail!("modules depend on each other in a circle: {}", path.join(", "));
        }
        path.push(name.clone());
        let info = Info::read(&self.folder.join(file))?;
        let mut needs: Vec<PathBuf> = Vec::new();
        for dependency in &info.depends {
            self.visit(dependency, done, path)?;
            let dependency = dependency.replace('-', "_");
            // A built-in dependency is not in the list, and needs nothing.
            if let Some(module) = done.iter().find(|module| module.name == dependency) {
                let below = module.needs.iter().rev().chain([&module.file]);
                for file in below {
                    if !needs.contains(file) {
                        needs.push(file.clone());
                    }
                }
            }
        }
        // Soft dependencies only make it faster, so one that is missing is no error.
        for wish in &info.soft_depends {
            if self.files.contains_key(&wish.replace('-', "_")) {
                self.visit(wish, done, path)?;
            }
        }
        path.pop();
        needs.reverse();
        done.push(Module { name, file: file.clone(), needs, aliases: info.aliases });
        Ok(())
    }

    /// The bytes of a module's file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self, module: &Module) -> Result<Vec<u8>> {
        let path = self.folder.join(&module.file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The kernel's own list of what it has built in, without which `modprobe` of a built-in module
    /// would fail.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn builtin_list(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.join("modules.builtin"))?)
    }
}

/// `modules.dep`: each module's file, and the files it needs.
pub fn dep_list(modules: &[Module]) -> String {
    let mut lines = String::new();
    for module in modules {
        lines += &format!("{}:", module.file.display());
        for file in &module.needs {
            lines += &format!(" {}", file.display());
        }
        lines += "\n";
    }
    lines
}

/// `modules.alias`: the names under which the kernel asks for modules by itself.
pub fn alias_list(modules: &[Module]) -> String {
    let mut lines = String::new();
    for module in modules {
        for alias in &module.aliases {
            lines += &format!("alias {alias} {}\n", module.name);
        }
    }
    lines
}

/// What a module says about itself.
#[derive(Debug, Default, PartialEq)]
struct Info {
    depends: Vec<String>,
    soft_depends: Vec<String>,
    aliases: Vec<String>,
}

impl Info {
    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = object::File::parse(&*bytes)
            .with_context(|| format!("{} is no ELF file", path.display()))?;
        let section = file
            .section_by_name(".modinfo")
            .with_context(|| format!("{} has no .modinfo", path.display()))?;
        Ok(Self::parse(section.data()?))
    }

    /// Parses `key=value` strings, each ended by a zero byte.
    fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        for field in bytes.split(|byte| *byte == 0) {
            let field = String::from_utf8_lossy(field);
            match field.split_once('=') {
                Some(("depends", names)) => {
                    let names = names.split(',').filter(|name| !name.is_empty());
                    info.depends.extend(names.map(str::to_owned));
                }
                Some(("softdep", names)) => {
                    if let Some(before) = names.strip_prefix("pre:") {
                        let before = before.split_whitespace().take_while(|word| *word != "post:");
                        info.soft_depends.extend(before.map(str::to_owned));
                    }
                }
                Some(("alias", name)) => info.aliases.push(name.to_owned()),
                // Licence, author, description and the like.
                Some(_) | None => {}
            }
        }
        info
    }
}

/// `kernel/fs/fat/vfat.ko` is the module `vfat`; in names, a dash is an underscore.
fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    Some(name.strip_suffix(".ko")?.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_information_is_parsed() {
        let bytes = b"license=GPL\0alias=fs-vfat\0depends=fat,nls-x\0softdep=pre: a b post: c\0\0";
        let info = Info::parse(bytes);
        assert_eq!(info.depends, ["fat", "nls-x"]);
        assert_eq!(info.soft_depends, ["a", "b"]);
        assert_eq!(info.aliases, ["fs-vfat"]);
        assert_eq!(Info::parse(b"depends=\0"), Info::default());
    }

    #[test]
    fn names_use_underscores() {
        assert_eq!(name_of(Path::new("kernel/fs/nls/nls_iso8859-1.ko")).unwrap(), "nls_iso8859_1");
        assert_eq!(name_of(Path::new("modules.dep")), None);
    }
}
