//! `cargo xtask circles`: no file of a crate uses another one that uses it in turn.
//!
//! What counts are paths that begin with `crate`, `self` or `super`, in `use` items and elsewhere,
//! outside of tests. A module that re-exports what its own files define makes no circle with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::Visit;

use crate::shell;

/// A module's path below the crate, such as `area::log`; empty for the root.
type Module = Vec<String>;

/// Looks at all crates of the workspace.
///
/// # Errors
/// A file cannot be read or parsed, or files use each other.
pub fn run() -> Result<()> {
    let metadata = MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    let (mut files, mut circles) = (0, Vec::new());
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        let modules = modules(&folder.join("src").into_std_path_buf())?;
        files += modules.len();
        circles.extend(circles_of(&modules)?);
    }
    // A layout of folders that this does not understand must not look clean.
    if files < 100 {
        bail!("expected the files of the workspace, found {files}");
    }
    if circles.is_empty() {
        println!("note: {files} files, none uses another one that uses it in turn");
        return Ok(());
    }
    for circle in &circles {
        eprintln!("{circle}");
    }
    bail!("expected no circles of files, found {}: move what they share", circles.len());
}

/// The files below `folder`, by module.
fn modules(folder: &Path) -> Result<BTreeMap<Module, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(folder.to_path_buf(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        // Crates without a folder of this name have only tests or examples.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let below = || module.iter().cloned().chain([name.clone()]).collect();
            if path.is_dir() {
                folders.push((path.clone(), below()));
            } else if path.extension().is_some_and(|end| end == "rs") {
                let is_folder = ["mod", "lib", "main"].contains(&name.as_str());
                found.insert(if is_folder { module.clone() } else { below() }, path);
            }
        }
    }
    Ok(found)
}

fn circles_of(modules: &BTreeMap<Module, PathBuf>) -> Result<Vec<String>> {
    let names: Vec<&Module> = modules.keys().collect();
    let mut graph = DiGraphMap::<usize, ()>::new();
    for (number, (module, path)) in modules.iter().enumerate() {
        let text = fs::read_to_string(path)?;
        let parsed = syn::parse_file(&text)
            .with_context(|| format!("{} is no Rust that can be parsed", path.display()))?;
        for used in uses(&parsed, module) {
            // The longest part of the path that is a file.
            let file = (1..=used.len())
                .rev()
                .find_map(|len| names.iter().position(|name| name[..] == used[..len]));
            if let Some(file) = file.filter(|file| *file != number) {
                graph.add_edge(number, file, ());
            }
        }
    }
    let files: Vec<&PathBuf> = modules.values().collect();
    let circles = tarjan_scc(&graph).into_iter().filter(|circle| circle.len() > 1);
    Ok(circles
        .map(|circle| {
            let shown: Vec<_> = circle.iter().map(|at| files[*at].display().to_string()).collect();
            format!("these use each other: {}", shown.join(", "))
        })
        .collect())
}

/// The modules and items of the own crate that a file names, as paths below the crate.
fn uses(file: &syn::File, module: &[String]) -> BTreeSet<Module> {
    let mut uses = Uses { module: module.to_vec(), found: BTreeSet::new() };
    uses.visit_file(file);
    uses.found
}

struct Uses {
    module: Module,
    found: BTreeSet<Module>,
}

impl Uses {
    fn add(&mut self, path: &[String]) {
        let parent =
            |module: &Module| module.split_last().map_or(&[][..], |(_, rest)| rest).to_vec();
        let (mut module, mut rest) = match path.first().map(String::as_str) {
            Some("crate") => (Module::new(), &path[1..]),
            Some("self") => (self.module.clone(), &path[1..]),
            Some("super") => (parent(&self.module), &path[1..]),
            _ => return,
        };
        while rest.first().is_some_and(|first| first == "super") {
            (module, rest) = (parent(&module), &rest[1..]);
        }
        module.extend_from_slice(rest);
        self.found.insert(module);
    }

    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(tree, before));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = item.attrs.iter().any(|attribute| {
            matches!(&attribute.meta, syn::Meta::List(list)
                if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
        });
        // In a module within the file, `super` is the file.
        if !is_test && item.content.is_some() {
            let inner = item.ident.to_string();
            self.module.push(inner);
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // `self` alone is a value.
        if names.len() > 1 {
            self.add(&names);
        }
        syn::visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(text: &str) -> Vec<String> {
        let module = ["area".to_owned(), "log".to_owned()];
        uses(&syn::parse_file(text).unwrap(), &module).iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn paths_are_those_of_the_own_crate_outside_of_tests() {
        let text = "use crate::{io::Io, layout as l}; use super::parts::*; use core::fmt;
            fn f() -> super::super::boot::Boot { self.x; self::table::new() }
            mod inner { use super::own; }
            #[cfg(test)] mod tests { use crate::verify; }";
        let expected = [
            "area::log::own",
            "area::log::table::new",
            "area::parts",
            "boot::Boot",
            "io::Io",
            "layout",
        ];
        assert_eq!(used(text), expected);
    }

    #[test]
    fn files_that_use_each_other_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("lib.rs", "mod a; mod b; mod c;");
        write("a.rs", "use crate::b::B;");
        write("b.rs", "fn b() { crate::c::c() }");
        write("c.rs", "pub fn c() {}");
        let count = || circles_of(&modules(folder.path()).unwrap()).unwrap().len();
        assert_eq!(count(), 0);
        write("c.rs", "use crate::a;");
        assert_eq!(count(), 1);
    }
}
