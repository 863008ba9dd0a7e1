//! A framed file back into the bundle.

use std::io::{Read, Write};

use super::write::{FramesError, head};
use stillboot_transport::outline::Outline;

/// Copies the bundle that `input` streams to `out`. Returns what its head says, and its length.
/// `progress` is told how much is done, and how much there is.
///
/// # Errors
/// [`FramesError`].
pub fn expand(
    input: &mut dyn Read,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Outline, u64), FramesError> {
    let (outline, start) = head(input)?;
    let total = outline.bundle_len();
    let mut stream = start.as_slice().chain(input);
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < total {
        let most = (total - done).min(buffer.len() as u64) as usize;
        match stream.read(&mut buffer[..most])? {
            0 => return Err(FramesError::Ended),
            n => {
                out.write_all(&buffer[..n])?;
                done += n as u64;
                progress(done, total);
            }
        }
    }
    if stream.read(&mut [0])? != 0 {
        return Err(FramesError::Trailing);
    }
    Ok((outline, done))
}
