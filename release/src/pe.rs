//! Appends sections to PE images.

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ, ImageDosHeader, ImageFileHeader,
    ImageNtHeaders64, ImageOptionalHeader64, ImageSectionHeader,
};
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _};

/// Why a section cannot be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeError {
    /// The bytes are no PE image of 64 bits, or a broken one.
    #[error("expected a PE image of 64 bits, found something else")]
    NotPe,
    /// Its headers have no room for one more section.
    #[error("the headers of the image have no room for a section")]
    NoRoom,
    /// It has a section of that name already.
    #[error("the image has a section {0} already")]
    Exists(String),
    /// The name is longer than the eight bytes there are for one, or empty.
    #[error("{0:?} is no name for a section: expected 1 to 8 bytes")]
    Name(String),
    /// The image would be larger than one can be.
    #[error("the image would have 4 GiB or more")]
    TooLarge,
}

/// Where things are in the headers of an image.
struct Headers {
    /// The file header.
    file: usize,
    /// The first row of the table of sections, and the first byte that is not of the headers.
    table: usize,
    end: usize,
    count: u16,
    /// Alignments of sections in memory and in the file, and the length of the image in memory.
    in_memory: u32,
    in_file: u32,
    len: u32,
}

const ROW_LEN: usize = size_of::<ImageSectionHeader>();

/// Appends a section `name` with `content`, in the file and in memory. A signature of the image is
/// worth nothing afterwards.
///
/// # Errors
/// [`PeError`]; the image is then as it was.
pub fn append_section(image: &mut Vec<u8>, name: &str, content: &[u8]) -> Result<(), PeError> {
    if !(1..=8).contains(&name.len()) {
        return Err(PeError::Name(name.into()));
    }
    let headers = Headers::of(image, name)?;
    let row = headers.table + usize::from(headers.count) * ROW_LEN;
    // The rest of the headers is unused; some stubs have other data there.
    if row + ROW_LEN > headers.end.min(image.len()) {
        return Err(PeError::NoRoom);
    }
    let number = |len: usize| u32::try_from(len).map_err(|_| PeError::TooLarge);
    let align = |at: u32, to: u32| at.checked_next_multiple_of(to).ok_or(PeError::TooLarge);
    let len = number(content.len())?;
    let address = align(headers.len, headers.in_memory)?;
    let end = align(address.checked_add(len).ok_or(PeError::TooLarge)?, headers.in_memory)?;
    let offset = align(number(image.len())?, headers.in_file)?;
    let padded = align(len, headers.in_file)?;
    let file_end = offset.checked_add(padded).ok_or(PeError::TooLarge)?;

    image.resize(offset as usize, 0);
    image.extend_from_slice(content);
    image.resize(file_end as usize, 0);
    let flags = IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ;
    let mut section = [0; ROW_LEN];
    section[..name.len()].copy_from_slice(name.as_bytes());
    for (at, value) in [(8, len), (12, address), (16, padded), (20, offset), (36, flags.0)] {
        section[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    image[row..row + ROW_LEN].copy_from_slice(&section);
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(headers.file + 2, &(headers.count + 1).to_le_bytes());
    let optional = headers.file + size_of::<ImageFileHeader>();
    // The length in memory, and the checksum. Firmware ignores the checksum, so it is set to zero.
    put(optional + 56, &end.to_le_bytes());
    put(optional + 64, &[0; 4]);
    Ok(())
}

impl Headers {
    fn of(image: &[u8], name: &str) -> Result<Self, PeError> {
        let dos = ImageDosHeader::parse(image).map_err(|_| PeError::NotPe)?;
        let file = dos.nt_headers_offset() as usize + 4;
        let mut table = dos.nt_headers_offset().into();
        let (nt, _) = ImageNtHeaders64::parse(image, &mut table).map_err(|_| PeError::NotPe)?;
        let sections = nt.sections(image, table).map_err(|_| PeError::NotPe)?;
        if sections.iter().any(|section| section.raw_name() == name.as_bytes()) {
            return Err(PeError::Exists(name.into()));
        }
        let optional: &ImageOptionalHeader64 = nt.optional_header();
        let (in_memory, in_file) = (optional.section_alignment(), optional.file_alignment());
        if in_memory == 0 || in_file == 0 {
            return Err(PeError::NotPe);
        }
        Ok(Self {
            file,
            table: usize::try_from(table).map_err(|_| PeError::NotPe)?,
            end: optional.size_of_headers() as usize,
            count: nt.file_header().number_of_sections.get(LE),
            in_memory,
            in_file,
            len: optional.size_of_image(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PE image without sections, with room for two.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 0x200];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x40_u32.to_le_bytes());
        put(0x40, b"PE\0\0\x64\xaa");
        put(0x40 + 20, &240_u16.to_le_bytes());
        let optional = 0x40 + 24;
        put(optional, &[0x0b, 2]);
        put(optional + 32, &0x1000_u32.to_le_bytes());
        put(optional + 36, &0x200_u32.to_le_bytes());
        put(optional + 56, &0x1000_u32.to_le_bytes());
        put(optional + 60, &(0x40 + 24 + 240 + 2 * ROW_LEN as u32).to_le_bytes());
        put(optional + 64, &[7; 4]);
        put(optional + 108, &16_u32.to_le_bytes());
        image
    }

    /// The image as firmware puts it into memory.
    fn load(image: &[u8]) -> Vec<u8> {
        let headers = Headers::of(image, "-").unwrap();
        let mut loaded = vec![0; headers.len as usize];
        loaded[..headers.end].copy_from_slice(&image[..headers.end]);
        for row in image[headers.table..].chunks(ROW_LEN).take(headers.count.into()) {
            let [len, address, _, offset] = [8, 12, 16, 20]
                .map(|at| u32::from_le_bytes(row[at..at + 4].try_into().unwrap()) as usize);
            loaded[address..address + len].copy_from_slice(&image[offset..offset + len]);
        }
        loaded
    }

    #[test]
    fn sections_are_found_in_the_loaded_image() {
        let mut image = image();
        append_section(&mut image, ".one", &[1; 5000]).unwrap();
        append_section(&mut image, ".two", &[2; 10]).unwrap();
        let loaded = load(&image);
        for (name, content) in [(".one", &[1; 5000][..]), (".two", &[2; 10])] {
            let at = stillboot_boot_support::pe::section(&loaded, name).unwrap();
            assert_eq!(&loaded[at], content, "{name}");
        }
        assert_eq!(stillboot_boot_support::pe::section(&loaded, ".three"), None);
        assert_eq!(image.len() % 0x200, 0);
        assert_eq!(image[0x40 + 24 + 64..][..4], [0; 4]);
    }

    #[test]
    fn what_cannot_be_appended_to_stays_as_it_was() {
        let mut full = image();
        append_section(&mut full, ".one", &[1]).unwrap();
        append_section(&mut full, ".two", &[2]).unwrap();
        for (image, name, error) in [
            (full.clone(), ".three", PeError::NoRoom),
            (full, ".one", PeError::Exists(".one".into())),
            (image(), ".too-long", PeError::Name(".too-long".into())),
            (image(), "", PeError::Name(String::new())),
            (b"MZ".to_vec(), ".one", PeError::NotPe),
            (vec![], ".one", PeError::NotPe),
            (image()[..0x100].to_vec(), ".one", PeError::NotPe),
        ] {
            let mut tried = image.clone();
            assert_eq!(append_section(&mut tried, name, &[1]), Err(error.clone()), "{error}");
            assert_eq!(tried, image);
        }
    }

    #[test]
    fn sections_outside_of_the_image_are_not_found() {
        let mut image = image();
        append_section(&mut image, ".one", &[1; 5000]).unwrap();
        let loaded = load(&image);
        for len in 0..loaded.len() - 0x1000 {
            assert_eq!(stillboot_boot_support::pe::section(&loaded[..len], ".one"), None, "{len}");
        }
    }
}
