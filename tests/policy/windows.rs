//! Maintenance windows: when each is open, beside a model that looks at every minute.

use proptest::prelude::*;
use stillboot_policy::window::{WindowFault, WindowState, Windows};

use super::{DAYS, DEVICE, MONDAY, WEEK};

/// Seconds from Monday to an instant such as `tue 03:00` or `tue 03:00:30`.
fn second_of_week(text: &str) -> u64 {
    let (day, time) = text.split_once(' ').unwrap();
    let day = DAYS.iter().position(|name| *name == day).unwrap() as u64;
    let time: Vec<u64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    day * 86_400 + time[0] * 3600 + time[1] * 60 + time.get(2).unwrap_or(&0)
}

/// The first such instant after `now`.
fn next(now: u64, text: &str) -> u64 {
    let at = MONDAY + second_of_week(text);
    if at > now { at } else { at + WEEK }
}

#[test]
// Long because it is a table: a row for each instant.
fn a_window_is_open_when_its_row_says_so() {
    // Windows, now, and what then: `open` until, or `shut` until; all in UTC.
    let rows = [
        // Every day.
        ("02:00-05:00", "mon 01:59:59", "shut mon 02:00"),
        ("02:00-05:00", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00", "mon 03:30", "open mon 05:00"),
        ("02:00-05:00", "mon 04:59:59", "open mon 05:00"),
        ("02:00-05:00", "mon 05:00", "shut tue 02:00"),
        ("02:00-05:00", "sun 23:59:59", "shut mon 02:00"),
        ("02:00-05:00", "sun 05:00", "shut mon 02:00"),
        ("00:00-00:01", "mon 00:00", "open mon 00:01"),
        ("00:00-00:01", "mon 00:01", "shut tue 00:00"),
        ("23:59-24:00", "mon 23:59", "open tue 00:00"),
        ("23:59-24:00", "tue 00:00", "shut tue 23:59"),
        // The whole day, and always.
        ("", "mon 00:00", "open never"),
        ("00:00-24:00", "wed 12:00", "open never"),
        ("mon-sun,00:00-24:00", "wed 12:00", "open never"),
        ("00:00-12:00;12:00-24:00", "wed 12:00", "open never"),
        ("12:00-06:00;05:00-13:00", "wed 12:00", "open never"),
        ("00:00-23:59", "wed 12:00", "open wed 23:59"),
        ("00:00-23:59", "wed 23:59", "shut thu 00:00"),
        ("mon,00:00-24:00", "mon 00:00", "open tue 00:00"),
        ("mon,00:00-24:00", "tue 00:00", "shut mon 00:00"),
        ("mon-sat,00:00-24:00", "mon 00:00", "open sun 00:00"),
        ("mon-sat,00:00-24:00", "sat 23:59", "open sun 00:00"),
        ("mon-sat,00:00-24:00", "sun 00:00", "shut mon 00:00"),
        // Some days.
        ("mon-fri,02:00-05:00", "fri 04:00", "open fri 05:00"),
        ("mon-fri,02:00-05:00", "fri 05:00", "shut mon 02:00"),
        ("mon-fri,02:00-05:00", "sat 03:00", "shut mon 02:00"),
        ("mon-fri,02:00-05:00", "sun 23:00", "shut mon 02:00"),
        ("mon-fri,02:00-05:00", "mon 02:00", "open mon 05:00"),
        ("sat,02:00-05:00", "sat 02:00", "open sat 05:00"),
        ("sat,02:00-05:00", "sat 05:00", "shut sat 02:00"),
        ("sat,02:00-05:00", "sun 02:00", "shut sat 02:00"),
        ("mon,wed,fri,10:00-11:00", "mon 11:00", "shut wed 10:00"),
        ("mon,wed,fri,10:00-11:00", "tue 10:30", "shut wed 10:00"),
        ("mon,wed,fri,10:00-11:00", "wed 10:30", "open wed 11:00"),
        ("mon,wed,fri,10:00-11:00", "fri 11:00", "shut mon 10:00"),
        ("mon-tue,thu-fri,10:00-11:00", "wed 10:30", "shut thu 10:00"),
        ("mon-tue,thu-fri,10:00-11:00", "fri 10:30", "open fri 11:00"),
        ("fri-mon,10:00-11:00", "mon 10:30", "open mon 11:00"),
        ("fri-mon,10:00-11:00", "mon 11:00", "shut fri 10:00"),
        ("fri-mon,10:00-11:00", "thu 10:30", "shut fri 10:00"),
        ("fri-mon,10:00-11:00", "sat 10:30", "open sat 11:00"),
        ("sun-mon,10:00-11:00", "sun 10:30", "open sun 11:00"),
        ("tue-mon,10:00-11:00", "mon 10:30", "open mon 11:00"),
        ("SAT,Sun,10:00-11:00", "sun 10:00", "open sun 11:00"),
        // Past midnight: it belongs to the day on which it starts.
        ("22:00-06:00", "mon 05:59", "open mon 06:00"),
        ("22:00-06:00", "mon 06:00", "shut mon 22:00"),
        ("22:00-06:00", "mon 22:00", "open tue 06:00"),
        ("22:00-06:00", "mon 23:59:59", "open tue 06:00"),
        ("22:00-06:00", "tue 00:00", "open tue 06:00"),
        ("sat,22:00-06:00", "sat 05:00", "shut sat 22:00"),
        ("sat,22:00-06:00", "sun 05:59:59", "open sun 06:00"),
        ("sat,22:00-06:00", "sun 06:00", "shut sat 22:00"),
        ("sat,22:00-06:00", "sun 22:00", "shut sat 22:00"),
        ("sun,22:00-06:00", "mon 03:00", "open mon 06:00"),
        ("sun,22:00-06:00", "sun 03:00", "shut sun 22:00"),
        ("mon-fri,22:00-06:00", "sat 05:00", "open sat 06:00"),
        ("mon-fri,22:00-06:00", "mon 05:00", "shut mon 22:00"),
        ("fri-mon,22:00-06:00", "tue 05:00", "open tue 06:00"),
        ("fri-mon,22:00-06:00", "fri 05:00", "shut fri 22:00"),
        ("22:00-00:00", "mon 23:00", "open tue 00:00"),
        ("22:00-24:00", "mon 23:00", "open tue 00:00"),
        ("22:00-24:00", "tue 00:00", "shut tue 22:00"),
        ("12:00-11:59", "mon 11:58", "open mon 11:59"),
        ("12:00-11:59", "mon 11:59", "shut mon 12:00"),
        ("22:00-24:00;00:00-02:00", "mon 23:00", "open tue 02:00"),
        // Zones: days and times are local there.
        ("02:00-05:00Z", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00z", "mon 05:00", "shut tue 02:00"),
        ("02:00-05:00+00:00", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00-00:00", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00+01:00", "mon 01:00", "open mon 04:00"),
        ("02:00-05:00+01:00", "mon 04:00", "shut tue 01:00"),
        ("02:00-05:00-05:00", "mon 07:00", "open mon 10:00"),
        ("02:00-05:00-05:00", "mon 10:00", "shut tue 07:00"),
        ("02:00-05:00+05:45", "sun 20:15", "open sun 23:15"),
        ("mon,02:00-05:00+05:45", "sun 20:14:59", "shut sun 20:15"),
        ("mon,02:00-05:00+05:45", "sun 20:15", "open sun 23:15"),
        ("mon,02:00-05:00+05:45", "mon 20:15", "shut sun 20:15"),
        ("mon,00:00-24:00+14:00", "sun 10:00", "open mon 10:00"),
        ("mon,00:00-24:00+14:00", "mon 10:00", "shut sun 10:00"),
        ("mon,00:00-24:00-14:00", "mon 14:00", "open tue 14:00"),
        ("mon,00:00-24:00-14:00", "mon 13:59", "shut mon 14:00"),
        ("sun,22:00-06:00-03:30", "mon 01:30", "open mon 09:30"),
        ("sun,22:00-06:00-03:30", "mon 09:30", "shut mon 01:30"),
        ("sat,22:00-06:00+09:00", "sat 20:59", "open sat 21:00"),
        ("sat,22:00-06:00+09:00", "sat 13:00", "open sat 21:00"),
        // Several: open in any, and over to the next one where they meet.
        ("mon-fri,02:00-05:00;sat,22:00-04:00", "fri 05:00", "shut sat 22:00"),
        ("mon-fri,02:00-05:00;sat,22:00-04:00", "sun 03:00", "open sun 04:00"),
        ("mon-fri,02:00-05:00;sat,22:00-04:00", "sun 04:00", "shut mon 02:00"),
        ("mon,02:00-05:00,,tue,03:00-04:00", "mon 05:00", "shut tue 03:00"),
        ("mon,02:00-05:00,,tue,03:00-04:00", "tue 04:00", "shut mon 02:00"),
        ("01:00-03:00;02:00-05:00", "mon 02:30", "open mon 05:00"),
        ("02:00-05:00;01:00-03:00", "mon 02:30", "open mon 05:00"),
        ("01:00-06:00;02:00-03:00", "mon 02:30", "open mon 06:00"),
        ("01:00-02:00;02:00-03:00", "mon 01:00", "open mon 03:00"),
        ("01:00-02:00;02:01-03:00", "mon 01:00", "open mon 02:00"),
        ("01:00-02:00;02:01-03:00", "mon 02:00", "shut mon 02:01"),
        ("sun,20:00-02:00;mon,02:00-03:00", "sun 20:00", "open mon 03:00"),
        ("01:00-02:00;01:00-02:00+00:30", "mon 00:30", "open mon 02:00"),
        ("fri,22:00-24:00;sat,sun,00:00-24:00", "fri 22:00", "open mon 00:00"),
        // One part is the whole window.
        ("02:00-05:00/1", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00/1", "mon 05:00", "shut tue 02:00"),
        // At a minute's length there is nothing to draw.
        ("02:00~02:01", "mon 01:00", "shut mon 02:00"),
        ("02:00~02:01", "mon 02:00", "open mon 02:01"),
        // Spaces.
        (" mon - fri,02:00-05:00", "", "error"),
        (" mon-fri , 02:00-05:00 ; sat,22:00-04:00 ", "sat 22:00", "open sun 04:00"),
        ("mon-fri, 02:00-05:00 , , sat,22:00-04:00", "", "error"),
    ];
    assert!(rows.len() >= 100, "{}", rows.len());
    for (text, now, then) in rows {
        let windows = Windows::parse(text);
        if then == "error" {
            assert!(windows.is_err(), "{text}");
            continue;
        }
        let windows = windows.unwrap_or_else(|error| panic!("{text}: {error}"));
        let now_s = MONDAY + second_of_week(now);
        let expected = match then.split_once(' ').unwrap() {
            ("open", "never") => WindowState::Open { closes_at: u64::MAX },
            ("open", at) => WindowState::Open { closes_at: next(now_s, at) },
            ("shut", at) => WindowState::Closed { opens_at: next(now_s, at) },
            other => panic!("{other:?}"),
        };
        assert_eq!(windows.state(now_s, &DEVICE), expected, "{text} at {now}");
        // The device's identity does not matter: nothing is drawn here. And in any other week too.
        assert_eq!(windows.state(now_s, &[0; 16]), expected, "{text} at {now}");
    }
}

#[test]
fn windows_are_shown_in_canonical_text_and_read_again() {
    let rows = [
        ("", ""),
        ("   ", ""),
        ("02:00-05:00", "02:00-05:00"),
        ("mon-sun,02:00-05:00", "02:00-05:00"),
        ("wed-tue,02:00-05:00", "02:00-05:00"),
        ("mon,tue,wed,02:00-05:00", "mon-wed,02:00-05:00"),
        ("fri,mon,wed,02:00-05:00", "mon,wed,fri,02:00-05:00"),
        ("sat-sun,02:00-05:00", "sat,sun,02:00-05:00"),
        ("mon,sun,02:00-05:00", "sun,mon,02:00-05:00"),
        ("mon,fri-sun,02:00-05:00", "fri-mon,02:00-05:00"),
        ("mon-wed,tue-thu,02:00-05:00", "mon-thu,02:00-05:00"),
        ("mon-tue,thu-sat,02:00-05:00", "mon,tue,thu-sat,02:00-05:00"),
        ("sun-fri,02:00-05:00", "sun-fri,02:00-05:00"),
        ("mon,mon,02:00-05:00", "mon,02:00-05:00"),
        ("22:00-00:00", "22:00-24:00"),
        ("22:00-06:00", "22:00-06:00"),
        ("00:00-24:00", "00:00-24:00"),
        ("00:00~24:00/4", "00:00~24:00/4"),
        ("02:00-05:00/1", "02:00-05:00"),
        ("02:00-05:00/24+14:00", "02:00-05:00/24+14:00"),
        ("02:00-05:00-03:30", "02:00-05:00-03:30"),
        ("02:00-05:00Z", "02:00-05:00"),
        ("02:00-05:00-00:00", "02:00-05:00"),
        (" SAT , 02:00~05:00/2z ;  10:00-11:00", "sat,02:00~05:00/2;10:00-11:00"),
        ("sat,02:00-05:00,,sun,03:00-04:00", "sat,02:00-05:00;sun,03:00-04:00"),
    ];
    for (text, shown) in rows {
        let windows = Windows::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(windows.to_string(), shown, "{text}");
        assert_eq!(Windows::parse(shown).as_ref(), Ok(&windows), "{text}");
        assert_eq!(windows.is_empty(), shown.is_empty(), "{text}");
    }
}

#[test]
fn what_is_no_window_is_refused_where_it_is_wrong() {
    use WindowFault::{
        Hour, Minute, NoComma, NoDay, NoEnd, NoLength, NoSeparator, NoTime, NoWindow, PartCount,
        PartLength, SameDay, WindowCount, Zone,
    };
    let nine = ["01:00-02:00"; 9].join(";");
    let rows = [
        (";", 0, NoWindow),
        (",02:00-05:00", 0, NoWindow),
        ("02:00-05:00;", 12, NoWindow),
        ("02:00-05:00; ", 13, NoWindow),
        ("02:00-05:00;;02:00-05:00", 12, NoWindow),
        ("*", 0, NoWindow),
        ("\u{e4}", 0, NoWindow),
        ("-02:00-05:00", 0, NoWindow),
        (nine.as_str(), 96, WindowCount),
        ("monday,02:00-05:00", 0, NoDay),
        ("mon1,02:00-05:00", 0, NoDay),
        ("mo,02:00-05:00", 0, NoDay),
        ("mon-,02:00-05:00", 4, NoDay),
        ("mon-xyz,02:00-05:00", 4, NoDay),
        ("mon,xyz,02:00-05:00", 4, NoDay),
        ("daily", 0, NoDay),
        ("mon-mon,02:00-05:00", 4, SameDay),
        ("mon", 3, NoComma),
        ("mon 02:00-05:00", 4, NoComma),
        ("mon;02:00-05:00", 3, NoComma),
        ("mon-tue-wed,02:00-05:00", 7, NoComma),
        ("mon~fri,02:00-05:00", 3, NoComma),
        ("mon,", 4, NoTime),
        ("mon,,02:00-05:00", 4, NoTime),
        ("2:00-05:00", 0, NoTime),
        ("02:00-5:00", 6, NoTime),
        ("0200-0500", 0, NoTime),
        ("02:00:00-05:00:00", 5, NoEnd),
        ("02:0", 0, NoTime),
        ("02:0a-05:00", 0, NoTime),
        ("02.00-05.00", 0, NoTime),
        ("02:00-", 6, NoTime),
        ("02:00 - 05:00", 5, NoEnd),
        ("02:00", 5, NoEnd),
        ("02:00/2", 5, NoEnd),
        ("02:00\u{2013}05:00", 5, NoEnd),
        ("25:00-05:00", 0, Hour),
        ("02:00-99:00", 6, Hour),
        ("24:00-05:00", 0, Hour),
        ("02:60-05:00", 3, Minute),
        ("02:00-24:01", 9, Minute),
        ("02:00-05:99", 9, Minute),
        ("02:00-02:00", 6, NoLength),
        ("00:00-00:00", 6, NoLength),
        ("02:00~02:00/3", 6, NoLength),
        ("02:00-05:00/", 12, PartCount),
        ("02:00-05:00/0", 12, PartCount),
        ("02:00-05:00/25", 12, PartCount),
        ("02:00-05:00/02", 12, PartCount),
        ("02:00-05:00/100", 12, PartCount),
        ("02:00-05:00/-1", 12, PartCount),
        ("02:00-02:03/4", 12, PartLength),
        ("02:00-05:00+14:01", 12, Zone),
        ("02:00-05:00-24:00", 12, Zone),
        ("02:00-05:00+1:00", 12, NoTime),
        ("02:00-05:00+0100", 12, NoTime),
        ("02:00-05:00+01:60", 15, Minute),
        ("02:00-05:00+", 12, NoTime),
        ("02:00-05:00 UTC", 12, NoSeparator),
        ("02:00-05:00Europe/Berlin", 11, NoSeparator),
        ("02:00-05:00ZZ", 12, NoSeparator),
        ("02:00-05:00+01:00/2", 17, NoSeparator),
        ("02:00-05:00,06:00-07:00", 11, NoSeparator),
        ("02:00-05:00,mon", 11, NoSeparator),
        ("02:00-05:00, ,03:00-04:00", 11, NoSeparator),
        ("02:00-05:00|03:00-04:00", 11, NoSeparator),
        ("02:00-05:00\n", 11, NoSeparator),
    ];
    for (text, at, fault) in rows {
        let error = Windows::parse(text).expect_err(text);
        assert_eq!((error.at, error.fault), (at, fault), "{text}");
    }
    let eight = ["01:00-02:00"; 8].join(";");
    assert_eq!(Windows::parse(&eight).map(|windows| windows.iter().count()), Ok(8));
    let error = Windows::parse("mon,2:00-05:00").unwrap_err();
    assert_eq!(error.to_string(), "at position 5: expected a time as HH:MM");
}

/// A window as a model sees it.
#[derive(Clone, Debug)]
struct Model {
    days: Vec<usize>,
    start: u32,
    end: u32,
    zone: i32,
}

impl Model {
    fn text(&self) -> String {
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let days: String = self.days.iter().map(|day| format!("{},", DAYS[*day])).collect();
        let sign = if self.zone < 0 { '-' } else { '+' };
        let zone = time(self.zone.unsigned_abs());
        format!("{days}{}-{}{sign}{zone}", time(self.start), time(self.end))
    }

    /// Whether it is open in a minute of UTC, counted from a Monday; by looking at the local clock
    /// and calendar, as a person would.
    fn is_open(&self, minute: i32) -> bool {
        let local = minute + self.zone;
        let weekday = local.div_euclid(1440).rem_euclid(7) as usize;
        let clock = local.rem_euclid(1440) as u32;
        let today = self.days.contains(&weekday);
        let yesterday = self.days.contains(&((weekday + 6) % 7));
        if self.start < self.end {
            today && (self.start..self.end).contains(&clock)
        } else {
            today && clock >= self.start || yesterday && clock < self.end
        }
    }
}

fn any_model() -> impl Strategy<Value = Model> {
    let days = proptest::sample::subsequence((0..7).collect::<Vec<_>>(), 1..=7);
    let zone =
        prop_oneof![Just(0), -840..=840_i32, (-56..=56_i32).prop_map(|quarter| quarter * 15)];
    // Round times meet each other, so that windows adjoin.
    let time = || prop_oneof![0..1440_u32, (0..24_u32).prop_map(|hour| hour * 60)];
    let end = prop_oneof![Just(1440_u32), time()];
    (days, time(), end, zone)
        .prop_filter("it has a length", |(_, start, end, _)| start != end)
        .prop_map(|(days, start, end, zone)| Model { days, start, end, zone })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_agree_with_a_model_that_looks_at_every_minute_of_two_weeks(
        models in proptest::collection::vec(any_model(), 1..=8),
        week in 0..5000_u64,
    ) {
        let text = models.iter().map(Model::text).collect::<Vec<_>>().join(";");
        let windows = Windows::parse(&text).unwrap();
        // The first Monday after 1970 and others.
        let monday = 4 * 86_400 + week * WEEK;
        const TWO_WEEKS: usize = 2 * 7 * 1440;
        let open: Vec<bool> = (0..2 * TWO_WEEKS)
            .map(|minute| models.iter().any(|model| model.is_open(minute as i32)))
            .collect();
        // From the end, for each minute the next one that differs.
        let mut change = 2 * TWO_WEEKS;
        for minute in (0..2 * TWO_WEEKS - 1).rev() {
            if open[minute] != open[minute + 1] {
                change = minute + 1;
            }
            if minute >= TWO_WEEKS {
                continue;
            }
            let second = if minute % 2 == 0 { 0 } else { 59 };
            let now = monday + minute as u64 * 60 + second;
            let at = monday + change as u64 * 60;
            let expected = match open[minute] {
                true if change - minute > 7 * 1440 => WindowState::Open { closes_at: u64::MAX },
                true => WindowState::Open { closes_at: at },
                false => WindowState::Closed { opens_at: at },
            };
            prop_assert_eq!(windows.state(now, &DEVICE), expected, "{} at {}", text, now);
        }
    }
}

/// Windows with parts and spread, and the same without.
fn any_drawn() -> impl Strategy<Value = (String, String)> {
    let window = (any_model(), 1..=24_u32, any::<bool>());
    proptest::collection::vec(window, 1..=4).prop_map(|list| {
        let mut drawn = Vec::new();
        let mut whole = Vec::new();
        for (model, parts, spread) in list {
            let text = model.text();
            let length = (model.end + 1440 - model.start) % 1440;
            let parts = if length == 0 { parts } else { parts.min(length) };
            // The zone is the last six bytes, and the end of the window the five before.
            let (head, zone) = text.split_at(text.len() - 6);
            let (head, end) = head.split_at(head.len() - 6);
            let dash = if spread { "~" } else { "-" };
            drawn.push(format!("{head}{dash}{}/{parts}{zone}", &end[1..]));
            whole.push(text);
        }
        (drawn.join(";"), whole.join(";"))
    })
}

proptest! {
    #[test]
    fn the_next_opening_is_never_in_the_past_and_open_and_shut_before(
        (drawn, whole) in any_drawn(),
        device in any::<[u8; 16]>(),
        start in prop_oneof![0..WEEK, 0..4_000_000_000_u64],
    ) {
        let windows = Windows::parse(&drawn).unwrap();
        let whole = Windows::parse(&whole).unwrap();
        let is_open = |now| matches!(windows.state(now, &device), WindowState::Open { .. });
        let mut now = start;
        for _ in 0..40 {
            let state = windows.state(now, &device);
            let change = match state {
                WindowState::Open { closes_at } => closes_at,
                WindowState::Closed { opens_at } => opens_at,
            };
            if change == u64::MAX {
                prop_assert!(is_open(now + WEEK / 2));
                break;
            }
            prop_assert!(change > now && change - now <= 9 * 86_400, "{} at {}", drawn, now);
            // All the way up to the change, nothing changes.
            for step in 0..5 {
                prop_assert_eq!(windows.state(now + (change - 1 - now) * step / 4, &device), state);
            }
            prop_assert_eq!(is_open(now), !is_open(change), "{} at {}", drawn, now);
            if is_open(now) {
                // Parts and openings lie within the windows that they are of.
                for at in [now, change - 1] {
                    let inside = matches!(whole.state(at, &device), WindowState::Open { .. });
                    prop_assert!(inside, "{} at {}", drawn, at);
                }
            }
            now = change;
        }
    }

    #[test]
    fn no_instant_overflows(
        (drawn, _) in any_drawn(),
        device in any::<[u8; 16]>(),
        now in prop_oneof![0..200_000_u64, u64::MAX - 2_000_000..=u64::MAX, any::<u64>()],
    ) {
        let windows = Windows::parse(&drawn).unwrap();
        match windows.state(now, &device) {
            WindowState::Open { closes_at: at } | WindowState::Closed { opens_at: at } => {
                prop_assert!(at > now || at == u64::MAX);
            }
        }
    }
}
