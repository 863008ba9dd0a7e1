//! Files that take long to make, and are kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Makes a file unless it is there; what has its name is whole.
pub(super) fn once(
    folder: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = folder.join(name);
    if !path.exists() {
        println!("bench: making {name}");
        let partial = folder.join(format!(".partial-{name}"));
        make(&partial)?;
        fs::rename(partial, &path)?;
    }
    Ok(path)
}
