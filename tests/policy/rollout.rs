//! Staged rollouts: which devices are in.

use stillboot::verify::SoftSha256;
use stillboot_policy::rollout;

use super::{DEVICE, DIGEST, device};

fn included(percentage: u8, number: u32, digest: &[u8; 32]) -> bool {
    rollout::included::<SoftSha256>(percentage, &device(number), digest)
}

#[test]
fn a_rollout_reaches_its_percentage_of_a_hundred_thousand_devices() {
    // Four standard deviations of the binomial.
    for (percentage, margin) in [(1, 126), (10, 380), (50, 633), (90, 380)] {
        for digest in [[0; 32], DIGEST] {
            let count = (0..100_000).filter(|n| included(percentage, *n, &digest)).count();
            let expected = 1000 * usize::from(percentage);
            assert!(count.abs_diff(expected) <= margin, "{percentage} %: {count} devices");
        }
    }
}

#[test]
fn a_higher_percentage_keeps_everyone_who_is_in() {
    for number in 0..2000 {
        let first = (0..=100).find(|percentage| included(*percentage, number, &DIGEST));
        // No device at 0, every device at 100, and at what should not occur as at 100.
        let first = first.expect("everybody is in at 100 %");
        assert!(first > 0);
        assert!((first..=u8::MAX).all(|percentage| included(percentage, number, &DIGEST)));
    }
}

#[test]
fn another_update_is_tried_by_other_devices() {
    let both =
        (0..100_000).filter(|n| included(10, *n, &DIGEST) && included(10, *n, &[0; 32])).count();
    // 1 %: 1000, four standard deviations are 126.
    assert!(both.abs_diff(1000) <= 126, "{both}");
}

/// Frozen: a change here moves devices while updates are being rolled out.
#[test]
fn golden_positions() {
    let rows = [([0; 16], [0; 32], 9512), ([0xff; 16], [0; 32], 2321), (DEVICE, DIGEST, 3121)];
    for (device, digest, position) in rows {
        assert_eq!(rollout::position::<SoftSha256>(&device, &digest), position, "{device:x?}");
    }
}
