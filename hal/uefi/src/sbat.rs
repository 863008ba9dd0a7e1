//! The `.sbat` section: shim starts no second stage without one, and revokes by it.

/// Component, generation, vendor, package, version, address; the first line is the format's own.
const TEXT: &str = concat!(
    "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n",
    "stillboot,1,stillboot,stillboot-uefi,",
    env!("CARGO_PKG_VERSION"),
    ",",
    env!("CARGO_PKG_REPOSITORY"),
    "\n",
);

const fn bytes() -> [u8; TEXT.len()] {
    let mut out = [0; TEXT.len()];
    let mut at = 0;
    while at < out.len() {
        out[at] = TEXT.as_bytes()[at];
        at += 1;
    }
    out
}

/// The section's content. Products that change the loader add a line of their own with a section
/// of their own instead of this one.
// SAFETY: A section of this name has no meaning to linker and firmware but to hold these bytes.
#[cfg_attr(target_os = "uefi", unsafe(link_section = ".sbat"))]
#[used]
pub static SBAT: [u8; TEXT.len()] = bytes();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_six_fields_of_the_format() {
        let text = str::from_utf8(&SBAT).unwrap();
        assert!(text.ends_with('\n'));
        assert!(text.lines().all(|line| line.split(',').count() == 6), "{text}");
    }
}
