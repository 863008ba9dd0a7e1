//! Compiles in the roots that the loader trusts and for which device it is, and
//! makes a flat image of it.

#[path = "../compile_in.rs"]
mod compile_in;

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let script = concat!("-T", env!("CARGO_MANIFEST_DIR"), "/link.ld");
        // The bytes as they lie in memory, which runs wherever it is put: it relocates itself.
        // `notext`: the precompiled library has addresses among its constants.
        for argument in [script, "-pie", "-znotext", "--no-dynamic-linker", "--oformat=binary"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
    compile_in::trust("none", "bare")
}
