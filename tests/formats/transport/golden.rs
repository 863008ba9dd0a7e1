//! The bytes of a framed file, with a frame of every encoding. They are frozen, as all golden bytes
//! are: see `tests/formats/golden.rs`.

use stillboot_sim::transport::expanded;
use stillboot_tests::vectors::framed::{example, file, old, unhex};

#[test]
fn golden_bytes_of_a_framed_file() {
    let (header, frames, bundle) = example(&[0, 1, 2, 3, 4, 5]);
    let file = file(&header, &frames);
    let start = unhex(
        "53424652 01 3f 01 00 00100000 05000000
         1111111111111111111111111111111111111111111111111111111111111111
         2222222222222222222222222222222222222222222222222222222222222222
         0350000000000000
         05000000 c0000000 1a000020 00000010 0a000030 1b000040 09000050 03000000
         05000000 6865616421 c0000000 0001020304",
    );
    assert_eq!(file[..start.len()], start);
    let (found, fault) = expanded(&file, &mut &old()[..]).unwrap();
    assert_eq!(fault, None);
    assert!(found == bundle);
}
