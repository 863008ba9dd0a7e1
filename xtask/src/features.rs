//! `cargo xtask features`: the core with every set of its features, each checked by itself.
//!
//! Built together with others, a feature may find by luck what it needs. The rejection suite runs
//! with the features of the test crate; that no feature takes a check away is seen here only in so
//! far as the code compiles without it.

use anyhow::Result;

use crate::shell;
use crate::steps::Lane;

/// The features of the core. `json` brings `serde` and `keysets` with it.
const FEATURES: &[&str] = &["defmt", "embedded-storage", "json", "keysets", "serde"];

/// Checks the core with each set of its features.
///
/// # Errors
/// A set does not compile.
pub fn run() -> Result<()> {
    let mut checked = 0;
    for set in 0..1_u32 << FEATURES.len() {
        let has = |name: &str| {
            FEATURES.iter().position(|one| *one == name).is_some_and(|at| set >> at & 1 == 1)
        };
        // The same set once more, under another name.
        if has("json") && !(has("serde") && has("keysets")) {
            continue;
        }
        let names: Vec<_> = FEATURES.iter().copied().filter(|name| has(name)).collect();
        shell::run(
            shell::cargo()
                .args(["check", "--quiet", "-p", "stillboot", "--no-default-features"])
                .args(["--features", &names.join(",")])
                .env("RUSTFLAGS", "-Dwarnings")
                .env("CARGO_TARGET_DIR", Lane::NoStd.target()),
        )?;
        checked += 1;
    }
    println!("note: {checked} sets of features");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_the_core_is_listed() {
        let text = std::fs::read_to_string(shell::root().join("core/Cargo.toml"))
            .expect("the core's manifest is readable");
        let manifest: toml::Table = text.parse().expect("it is valid");
        let features = manifest["features"].as_table().expect("it has features");
        let mut names: Vec<_> =
            features.keys().map(String::as_str).filter(|name| *name != "default").collect();
        names.sort_unstable();
        assert_eq!(names, FEATURES);
    }
}
