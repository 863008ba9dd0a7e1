//! Sizes as people write them: `64M`, `4096`, `2G`. K, M and G are powers of 1024.

/// Bytes from text.
///
/// # Errors
/// What was expected, as text.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("expected a size such as 4096, 512K, 64M or 2G (K = 1024 bytes), found `{text}`")
    };
    let trimmed = text.trim();
    let suffix = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &trimmed[..trimmed.len() - suffix.len()];
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is more bytes than can be counted"))
}

/// As [`parse`], but not zero.
///
/// # Errors
/// What was expected, as text.
pub fn parse_some(text: &str) -> Result<u64, String> {
    match parse(text)? {
        0 => Err("expected a size above zero".into()),
        bytes => Ok(bytes),
    }
}

/// Text for people from bytes.
pub fn show(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1024),
            ("64M", 64 << 20),
            ("2g", 2 << 30),
            ("3MiB", 3 << 20),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "M", "-1", "1.5G", "10X", "99999999999999999999", "99999999999G", "1 0", "é"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_some("0").is_err());
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        assert_eq!(show(12), "12 B");
        assert_eq!(show(64 << 20), "64 MiB");
        assert_eq!(show(1536), "1.5 KiB");
    }
}
