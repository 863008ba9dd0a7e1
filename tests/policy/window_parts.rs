//! Windows that are shared out: each device opens in a part of its own.

use stillboot_policy::window::{WindowState, Windows, draw};

use super::{DEVICE, MONDAY, device};

/// When the window of Monday opens and closes, in seconds after Monday's midnight.
fn opening(windows: &Windows, device: &[u8; 16]) -> (u64, u64) {
    // A minute before midnight no window of these tests is open.
    let WindowState::Closed { opens_at } = windows.state(MONDAY - 60, device) else {
        panic!("open on Sunday")
    };
    let WindowState::Open { closes_at } = windows.state(opens_at, device) else {
        panic!("closed when it opens")
    };
    (opens_at - MONDAY, closes_at - MONDAY)
}

#[test]
fn each_device_gets_one_part_and_parts_fill_evenly() {
    let windows = Windows::parse("02:00-05:00/6").unwrap();
    let mut counts = [0_u32; 6];
    for number in 0..60_000 {
        let (opens, closes) = opening(&windows, &device(number));
        assert_eq!(closes - opens, 1800);
        assert_eq!((opens - 7200) % 1800, 0);
        counts[((opens - 7200) / 1800) as usize] += 1;
    }
    // 10,000 each, four standard deviations are 366.
    assert!(counts.iter().all(|count| count.abs_diff(10_000) <= 366), "{counts:?}");
}

#[test]
fn parts_are_equal_to_the_second_and_leave_nothing_out() {
    // 61 minutes in 7 parts: 522 or 523 seconds each.
    let windows = Windows::parse("02:00-03:01/7").unwrap();
    let mut parts: Vec<_> = (0..1000).map(|n| opening(&windows, &device(n))).collect();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), 7);
    assert_eq!((parts[0].0, parts[6].1), (7200, 7200 + 3660));
    assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0));
    assert!(parts.iter().all(|(opens, closes)| (522..=523).contains(&(closes - opens))));
}

#[test]
fn a_spread_opening_is_uniform_and_leaves_a_minute() {
    let windows = Windows::parse("02:00~05:00").unwrap();
    let mut counts = [0_u32; 10];
    let (mut first, mut last) = (u64::MAX, 0);
    for number in 0..100_000 {
        let (opens, closes) = opening(&windows, &device(number));
        assert_eq!(closes, 5 * 3600);
        first = first.min(opens);
        last = last.max(opens);
        // 3 hours less a minute in ten parts of 1074 seconds, and one second more.
        counts[((opens - 7200) / 1074).min(9) as usize] += 1;
    }
    assert_eq!((first, last), (7200, 5 * 3600 - 60));
    // 10,000 each, four standard deviations are 379.
    assert!(counts.iter().all(|count| count.abs_diff(10_000) <= 379), "{counts:?}");
}

#[test]
fn a_spread_opening_stays_within_its_part() {
    let windows = Windows::parse("02:00~05:00/3").unwrap();
    let mut counts = [0_u32; 3];
    for number in 0..3000 {
        let (opens, closes) = opening(&windows, &device(number));
        assert_eq!((closes - 7200) % 3600, 0);
        assert!(opens >= closes - 3600 && opens <= closes - 60);
        counts[((closes - 7200) / 3600 - 1) as usize] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(1000) <= 104), "{counts:?}");
}

#[test]
fn another_day_gives_another_part() {
    let windows = Windows::parse("02:00-05:00/6").unwrap();
    let part = |day: u64| match windows.state(MONDAY + day * 86_400, &DEVICE) {
        WindowState::Closed { opens_at } => (opens_at - MONDAY - day * 86_400 - 7200) / 1800,
        WindowState::Open { .. } => panic!("open at midnight"),
    };
    let mut counts = [0_u32; 6];
    for day in 0..6000 {
        counts[part(day) as usize] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(1000) <= 116), "{counts:?}");
}

/// Frozen: a change here moves the windows of every device in the field.
#[test]
fn golden_draws() {
    let rows = [
        ([0; 16], 0, [0x3ff1_b50f_c7fc_d86c, 0xd5a9_5db5_a112_ddde]),
        ([0; 16], 1, [0xeeff_f9cd_953f_94ab, 0x1a16_2415_1e8c_5269]),
        ([0xff; 16], u64::MAX, [0xe525_a90f_9b97_0d3d, 0xe249_1493_7a2d_c8ed]),
        (DEVICE, 20_458, [0x1dd7_9b73_c689_441b, 0xd834_e1bd_41d7_4760]),
    ];
    for (device, day, expected) in rows {
        let found = draw(&device, day);
        assert_eq!(found, expected, "{device:x?} on {day}: {found:#x?}");
    }
    let found: Vec<_> = ["02:00-05:00/6", "02:00~05:00", "mon,22:00~06:00/4"]
        .map(|text| opening(&Windows::parse(text).unwrap(), &DEVICE))
        .into();
    assert_eq!(found, [(16200, 18000), (14620, 18000), (104646, 108000)]);
}
