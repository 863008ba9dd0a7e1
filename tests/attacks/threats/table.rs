//! The table of `docs/THREATS.md` and the tests agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{root, sources};

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The files of tests across crates of this name: `tests/THEME/NAME.rs`, all below
/// `tests/THEME/NAME`, and all of a theme of this name. Each machine of `tests/firmware` is a theme
/// too.
fn across_crates(name: &str) -> Vec<PathBuf> {
    let tests = root().join("tests");
    let machines = entries(&tests.join("firmware"));
    let themes = entries(&tests).into_iter().chain(machines).filter(|path| path.is_dir());
    let found = themes.chain([tests.clone()]).flat_map(|theme| {
        let folder = theme.join(name);
        let below = if folder.is_dir() { sources(&folder) } else { Vec::new() };
        below.into_iter().chain([theme.join(format!("{name}.rs"))])
    });
    found.filter(|path| path.is_file()).collect()
}

/// Where the test that is named `file::test`, or `cli::file::test`, would be.
fn places(name: &str) -> (Vec<PathBuf>, &str) {
    let parts: Vec<_> = name.split("::").collect();
    let test = *parts.last().unwrap();
    let root = root();
    let file = parts[0];
    let places = if file == "cli" {
        vec![root.join(format!("cli/tests/cli/{}.rs", parts[1]))]
    } else {
        let fixed = ["core/src", "policy/src", "release/src", "host-sim/src", "host-sim/src/disk"];
        let mut folders: Vec<_> = fixed.iter().map(|folder| root.join(folder)).collect();
        folders.extend(entries(&root.join("hal")).into_iter().map(|layer| layer.join("src")));
        let ends = [".rs", "/tests.rs", "/mod.rs"];
        let beside_code =
            folders.iter().flat_map(|folder| ends.map(|end| folder.join(format!("{file}{end}"))));
        beside_code.chain(across_crates(file)).collect()
    };
    (places, test)
}

fn exists(name: &str) -> bool {
    let (places, test) = places(name);
    let declared = format!("fn {test}(");
    places.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&declared)))
}

/// The rows of the tables: number or title, and the names of tests in the last column.
fn rows(text: &str) -> Vec<(String, String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let columns: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (first, last) = (columns[0].to_owned(), columns[columns.len() - 1].to_owned());
        if first.starts_with("---") || last == "test" || columns.len() < 3 {
            continue;
        }
        let names = last.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
        let names = names.map(str::to_owned).collect();
        rows.push((first, last, names));
    }
    rows
}

#[test]
fn every_test_that_the_table_names_exists() {
    let text = fs::read_to_string(root().join("docs/THREATS.md")).unwrap();
    let rows = rows(&text);
    let mut problems = Vec::new();
    for (first, last, names) in &rows {
        // A row without a test says why there is none.
        let told = last.starts_with("none: ") && last.len() > 20;
        if names.is_empty() && !told {
            problems.push(format!("row `{first}` has neither a test nor a reason: {last}"));
        }
        for name in names.iter().filter(|name| !exists(name)) {
            problems.push(format!("row `{first}` names `{name}`, which is not there"));
        }
    }
    for number in 1..=23 {
        let Some((_, _, names)) = rows.iter().find(|(first, ..)| *first == number.to_string())
        else {
            problems.push(format!("attack {number} has no row"));
            continue;
        };
        let own = format!("threats::attack_{number:02}_");
        if number != 22 && !names.iter().any(|name| name.starts_with(&own)) {
            problems.push(format!("attack {number} names no test `{own}...`"));
        }
    }
    // And the other way round: a test named by its row is in a row.
    let named: BTreeSet<_> = rows.iter().flat_map(|(_, _, names)| names.iter().cloned()).collect();
    for file in ["bugs", "threats", "findings", "dead_ends"] {
        let files = across_crates(file);
        let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        for declared in text.split("#[test]\nfn ").skip(1) {
            let name = format!("{file}::{}", declared.split('(').next().unwrap());
            let of_a_row = file != "threats" || name.contains("::attack_");
            if of_a_row && !named.contains(&name) {
                problems.push(format!("`{name}` is in no row"));
            }
        }
    }
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
    assert!(rows.len() > 70, "only {} rows were found", rows.len());
}
