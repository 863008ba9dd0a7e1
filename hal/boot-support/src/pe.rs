//! Finds a section of a PE image that firmware has loaded.

use core::ops::Range;

use object::LittleEndian as LE;
use object::pe::{ImageDosHeader, ImageNtHeaders64};
use object::read::pe::ImageNtHeaders as _;

/// Where the section `name` is in an image in memory that begins with `image`. Its length is the
/// one in memory: in the file it is rounded up.
#[must_use]
pub fn section(image: &[u8], name: &str) -> Option<Range<usize>> {
    let dos = ImageDosHeader::parse(image).ok()?;
    let mut at = dos.nt_headers_offset().into();
    let (headers, _) = ImageNtHeaders64::parse(image, &mut at).ok()?;
    let sections = headers.sections(image, at).ok()?;
    let found = sections.iter().find(|section| section.raw_name() == name.as_bytes())?;
    let start = found.virtual_address.get(LE) as usize;
    let end = start.checked_add(found.virtual_size.get(LE) as usize)?;
    (end <= image.len()).then_some(start..end)
}
