//! The pages and the code agree: every file, anchor and name that a page speaks of is there, and
//! every anchor that the code speaks of is on its page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of pages and folders that a command makes, so that a checkout need not have them.
const MADE: &[&str] = &["fuzz/artifacts"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of this ending below `folder`, without what cargo and git keep there.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// A page of the repository.
struct Page<'a> {
    root: &'a Path,
    /// The folder of the page: relative links begin there.
    folder: PathBuf,
    name: String,
    text: String,
}

impl<'a> Page<'a> {
    fn open(root: &'a Path, path: &Path) -> Self {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        Self { root, folder: path.parent().unwrap().to_path_buf(), name, text: read(path) }
    }

    /// The lines outside of blocks of code, with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_code = false;
        self.text.lines().enumerate().filter_map(move |(number, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            (!is_code && !is_fence).then_some((number + 1, line))
        })
    }

    /// All that is wrong with the page.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (number, line) in self.lines() {
            let links = links(line).into_iter().filter_map(|link| self.broken_link(link));
            // The changelog also names what is gone.
            let spans = if self.name == "CHANGELOG.md" { vec![] } else { self.broken_spans(line) };
            for wrong in links.chain(spans) {
                problems.push(format!("{}:{number}: {wrong}", self.name));
            }
        }
        problems
    }

    fn broken_link(&self, link: &str) -> Option<String> {
        if link.contains("://") {
            return None;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let (target, text) = if path.is_empty() {
            (PathBuf::new(), self.text.clone())
        } else {
            let target = self.folder.join(path);
            if !target.exists() {
                return Some(format!("the link `{link}` leads to no file"));
            }
            let text = fs::read_to_string(&target).unwrap_or_default();
            (target, text)
        };
        let is_there = anchor.is_empty() || anchors(&text).contains(anchor);
        let where_to =
            if path.is_empty() { self.name.clone() } else { target.display().to_string() };
        (!is_there).then(|| format!("`#{anchor}` is no anchor of {where_to}"))
    }

    /// The paths of `line` in spans of code that lead nowhere. A file without a folder stands in a
    /// folder that the line names.
    fn broken_spans(&self, line: &str) -> Vec<String> {
        let mut folders = vec![self.root.to_path_buf(), self.folder.clone()];
        for link in links(line) {
            let target = self.folder.join(link.split('#').next().unwrap());
            folders.push(target.parent().unwrap().to_path_buf());
            folders.push(target);
        }
        let mut broken = Vec::new();
        for span in spans(line).into_iter().filter(|span| is_path(self.root, span)) {
            if MADE.iter().any(|made| span.starts_with(made)) {
                continue;
            }
            let found: Vec<_> = if span.contains('/') {
                let mut found = matches(self.root, span);
                found.extend(matches(&self.folder, span));
                // The text of a link may be the end of its target, which is looked at as a link.
                let is_of_link = |link: &&str| link.ends_with(&format!("/{span}"));
                let target = links(line).into_iter().find(is_of_link);
                found.extend(target.map(|target| self.folder.join(target)));
                found
            } else {
                folders.iter().flat_map(|folder| matches(folder, span)).collect()
            };
            if found.is_empty() {
                broken.push(format!("`{span}` is not there"));
            }
            for path in found {
                folders.extend(path.parent().map(Path::to_path_buf));
                folders.push(path);
            }
        }
        broken
    }
}

/// The spans of code in a line.
fn spans(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// The targets of the links in a line.
fn links(line: &str) -> Vec<&str> {
    let ends = line.split("](").skip(1);
    ends.filter_map(|end| end.split_once(')').map(|(target, _)| target)).collect()
}

/// Whether a span of code is meant as a path of the repository: it begins with one of its folders, or
/// is a Rust file.
fn is_path(root: &Path, span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./*".contains(c);
    if span.is_empty() || !span.chars().all(plain) || span.starts_with('/') {
        return false;
    }
    let first = span.split('/').next().unwrap();
    span.ends_with(".rs") || (span.contains('/') && first != "target" && root.join(first).is_dir())
}

/// What a path below `folder` leads to. `*` stands for any name, and a part in capitals for a name
/// that the reader chooses.
fn matches(folder: &Path, path: &str) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    for part in path.trim_end_matches('/').split('/') {
        if part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()) {
            break;
        }
        found = match part {
            "*" => found
                .iter()
                .filter_map(|found| fs::read_dir(found).ok())
                .flatten()
                .map(|entry| entry.unwrap().path())
                .collect(),
            _ => found.iter().map(|found| found.join(part)).collect(),
        };
        found.retain(|path| path.exists());
    }
    found
}

/// The anchors of a page: those that are written out, and those that its headings make.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        for rest in line.split("<a id=\"").skip(1) {
            anchors.extend(rest.split('"').next().map(str::to_owned));
        }
        let title = line.trim_start_matches('#');
        if title.len() < line.len() && title.starts_with(' ') {
            let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            anchors.insert(slug.to_lowercase());
        }
    }
    anchors
}

/// The pages that a text names as `docs/NAME.md`, with the anchor if there is one.
fn named_pages(text: &str) -> Vec<(String, Option<String>)> {
    let mut named = Vec::new();
    for rest in text.split("docs/").skip(1) {
        let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let Some(rest) = rest.strip_prefix(".md") else { continue };
        let anchor = rest.strip_prefix('#').map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        named.push((format!("docs/{name}.md"), anchor));
    }
    named
}

/// What a Rust file says of pages that is not so.
fn wrong_pages(root: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (page, anchor) in named_pages(text) {
        match (fs::read_to_string(root.join(&page)), anchor) {
            (Err(_), _) => problems.push(format!("{page} is not there")),
            (Ok(text), Some(anchor)) if !anchors(&text).contains(&anchor) => {
                problems.push(format!("`#{anchor}` is no anchor of {page}"));
            }
            (Ok(_), _) => {}
        }
    }
    problems
}

/// What is wrong with a row of the table that says where to start: a name that is in none of the
/// files of its row.
fn missing_names(root: &Path, row: &str) -> Vec<String> {
    let spans = spans(row);
    let paths = spans.iter().filter(|span| is_path(root, span) && span.contains('/'));
    let mut text = String::new();
    for path in paths.flat_map(|path| matches(root, path)) {
        let mut found = Vec::new();
        if path.is_dir() {
            files(&path, ".rs", &mut found);
        } else {
            found.push(path);
        }
        text.extend(found.iter().map(|path| read(path)));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let names = spans.iter().filter(|span| !is_path(root, span) && span.chars().all(is_name));
    let last = |name: &&&str| name.rsplit("::").next().unwrap().to_owned();
    let is_missing = |name: &&&str| !text.contains(&last(name));
    names.filter(is_missing).map(|name| format!("`{name}` is in no file of its row")).collect()
}

/// The pages that this repository has by itself.
fn pages(root: &Path) -> Vec<Page<'_>> {
    let mut paths = Vec::new();
    files(root, ".md", &mut paths);
    paths.iter().map(|path| Page::open(root, path)).collect()
}

#[test]
fn every_file_and_every_anchor_that_a_page_names_is_there() {
    let root = root().canonicalize().unwrap();
    let pages = pages(&root);
    for name in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/DESIGN.md"]
    {
        assert!(pages.iter().any(|page| page.name == name), "{name} was not looked at");
    }
    let problems: Vec<_> = pages.iter().flat_map(Page::problems).collect();
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_name_of_the_table_where_to_start_is_in_its_files() {
    let root = root().canonicalize().unwrap();
    let page = Page::open(&root, &root.join("ARCHITECTURE.md"));
    let section = page.text.split("\n## ").find(|text| text.starts_with("To change something"));
    let rows: Vec<_> = section.unwrap().lines().filter(|line| line.starts_with("| ")).collect();
    let problems: Vec<_> = rows.iter().flat_map(|row| missing_names(&root, row)).collect();
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
    assert!(rows.len() > 20, "only {} rows were found", rows.len());
}

#[test]
fn every_anchor_that_the_code_names_is_on_its_page() {
    let root = root().canonicalize().unwrap();
    let mut sources = Vec::new();
    files(&root, ".rs", &mut sources);
    // This file has made-up ones.
    sources.retain(|path| !path.ends_with(file!()));
    let mut problems = Vec::new();
    let mut decisions = BTreeSet::new();
    for path in &sources {
        let text = read(path);
        let name = path.strip_prefix(&root).unwrap().display();
        problems.extend(wrong_pages(&root, &text).iter().map(|wrong| format!("{name}: {wrong}")));
        let named = named_pages(&text).into_iter().filter(|(page, _)| page == "docs/DESIGN.md");
        decisions.extend(named.filter_map(|(_, anchor)| anchor));
    }
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
    assert!(decisions.len() > 80, "the code names only {} decisions", decisions.len());
}

#[test]
fn what_is_not_there_is_found() {
    let root = root().canonicalize().unwrap();
    let problems = |text: &str| {
        let page = Page {
            root: &root,
            folder: root.join("docs"),
            name: "docs/MADE_UP.md".into(),
            text: text.into(),
        };
        page.problems()
    };
    for sound in [
        "## A title, with a comma\n[here](#a-title-with-a-comma) and [there](DESIGN.md#why-read-back)",
        "[`Boot`](../core/src/boot/mod.rs), `core/src/select.rs`, `mod.rs` and `hal/linux/src/*/tests.rs`",
        "`tests/attacks` in `fuzz/corpus/TARGET`, `read/write` and `https://example.org/a.rs`",
        "```\n[no link](nowhere.md) in a block of code\n```",
    ] {
        assert_eq!(problems(sound), [""; 0], "{sound}");
    }
    for broken in [
        "[a file](NOWHERE.md)",
        "[an anchor](DESIGN.md#why-nothing)",
        "[an anchor of the page](#nothing)",
        "`core/src/nowhere.rs`",
        "`core/src/nowhere`",
        "`nowhere/select.rs`",
        "`boot` and `hand_over.rs`, in a folder that the line does not name",
        "`hal/*/src/nowhere.rs`",
    ] {
        assert_eq!(problems(broken).len(), 1, "{broken}");
    }
    assert_eq!(wrong_pages(&root, "// Why: docs/DESIGN.md#why-read-back"), [""; 0]);
    assert_eq!(wrong_pages(&root, "// Why: docs/DESIGN.md#why-nothing.").len(), 1);
    assert_eq!(wrong_pages(&root, "//! Steps of `docs/NOWHERE.md`.").len(), 1);
    assert_eq!(missing_names(&root, "| a | `core/src/select.rs`, `candidates` |"), [""; 0]);
    assert_eq!(missing_names(&root, "| a | `core/src/select.rs`, `Boot::nowhere` |").len(), 1);
}

/// The first page has the ids of its own names: a reader who types its commands gets bundles for the
/// device of its example.
#[test]
fn the_ids_of_the_first_page_are_those_of_its_names() {
    let page = read(&root().join("README.md"));
    for (constant, name) in [("GATEWAY", "gateway"), ("MODEL_1", "model-1")] {
        let (_, rest) = page.split_once(&format!("const {constant}: Id = 0x")).expect(constant);
        let (digits, _) = rest.split_once("_u128.to_be_bytes()").expect("a number of 128 bits");
        let id = u128::from_str_radix(&digits.replace('_', ""), 16).unwrap().to_be_bytes();
        assert_eq!(id, stillboot_release::keys::id_of(name), "{name}");
    }
    assert!(page.contains("--product gateway") && page.contains("--class model-1"));
}
