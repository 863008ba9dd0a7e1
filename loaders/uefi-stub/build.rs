//! Compiles in the roots that the stub trusts, and for which device it is.

#[path = "../compile_in.rs"]
mod compile_in;

fn main() -> anyhow::Result<()> {
    compile_in::trust("uefi", "stub")
}
