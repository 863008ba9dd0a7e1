//! Shows the linker where `memory.x` is.

fn main() -> Result<(), stillboot_build::BuildError> {
    stillboot_build::link_small();
    stillboot_build::link_script("memory.x")
}
