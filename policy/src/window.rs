//! Maintenance windows: when a device may be disturbed.
//!
//! ```text
//! windows = window { ( ";" | ",," ) window }      at most 8; nothing at all means always open
//! window  = [ days "," ] time ( "-" | "~" ) time [ "/" parts ] [ zone ]
//! days    = day [ "-" day ] { "," day [ "-" day ] }
//! day     = "mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun"
//! time    = two digits ":" two digits             00:00 to 23:59, and 24:00 as an end
//! parts   = 1 to 24
//! zone    = "Z" | ( "+" | "-" ) time              up to 14:00; UTC where none is given
//! ```
//!
//! | text | open |
//! |---|---|
//! | `02:00-05:00` | every day from 2 up to before 5 o'clock UTC |
//! | `mon-fri,02:00-05:00+01:00` | on working days, in a zone one hour ahead of UTC |
//! | `sat,sun,00:00-24:00` | all of the weekend |
//! | `fri-mon,22:00-06:00` | nights that start on Friday to Monday; the last ends on Tuesday |
//! | `02:00-05:00/6` | each device for half an hour of the three, another one every day |
//! | `02:00~05:00` | each device from a moment of its own up to before 5 o'clock |
//! | `mon-fri,02:00-05:00; sat,22:00-04:00` | in either |
//!
//! A window whose end is before its start ends on the next day, and belongs to the day on which it
//! starts. The opening instant is inside, the end is not. Letters may be capital, and spaces may
//! stand around separators.
//!
//! There is no daylight saving: an offset is part of the text, so that no device needs a time zone
//! database, and no hour is ever skipped or passed twice. Leap seconds do not occur in unix time.
//!
//! **Parts and spread.** What a device gets of a window follows from its id and the number of the
//! day on which the window starts, in the window's zone, by [`draw`]: stable whenever it is asked,
//! different on the next day and on other devices. `/n` cuts the window into n equal parts in
//! seconds, of which the device gets one. `~` moves its opening to a second drawn from the window,
//! or from the part, such that it stays open for at least a minute. A fleet is staggered without
//! anyone counting it.

use core::fmt::{self, Display, Formatter};
use core::num::NonZeroU8;
use core::ops::Range;

use heapless::Vec;

/// Most windows of one list.
pub const WINDOWS_MAX: usize = 8;
/// Most parts of one window.
pub const PARTS_MAX: u8 = 24;

const MINUTE_S: i32 = 60;
const DAY_S: i32 = 24 * 60 * MINUTE_S;
const WEEK_S: i32 = 7 * DAY_S;
const DAY_MIN: u16 = 24 * 60;
const ZONE_MAX_MIN: u16 = 14 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ALL_DAYS: u8 = 0x7f;

/// When a device may be disturbed: a list of windows, open where any of them is. An empty list is
/// always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    list: Vec<Window, WINDOWS_MAX>,
}

/// One maintenance window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Window {
    /// Bit 0 is Monday. At least one of seven is set.
    days: u8,
    /// Minutes from midnight to the opening, below one day.
    start_min: u16,
    /// Minutes, from 1 to one day.
    length_min: u16,
    /// At most [`PARTS_MAX`], and at least a minute long each.
    parts: NonZeroU8,
    /// Whether the opening is drawn.
    spread: bool,
    /// Minutes that local time is ahead of UTC.
    zone_min: i16,
}

/// Whether windows are open.
///
/// No more variants come: a device may be disturbed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WindowState {
    /// The device may be disturbed.
    Open {
        /// Unix time in seconds of the first instant at which no window is open any more;
        /// [`u64::MAX`] when that is more than a week away, or never.
        closes_at: u64,
    },
    /// It may not.
    Closed {
        /// Unix time in seconds of the next opening: later than now, and open at that instant.
        opens_at: u64,
    },
}

/// Why a text is no list of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct WindowError {
    /// Bytes before the fault.
    pub at: usize,
    /// What is wrong there.
    pub fault: WindowFault,
}

/// What is wrong in a list of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WindowFault {
    /// A window is expected: a day or a time.
    NoWindow,
    /// There are more than [`WINDOWS_MAX`] windows.
    WindowCount,
    /// No day is called like this.
    NoDay,
    /// A range of days from a day to itself: one day or the whole week could be meant.
    SameDay,
    /// A comma is expected after days.
    NoComma,
    /// A time, `HH:MM`, is expected.
    NoTime,
    /// An hour above 23, or 24:00 as a start.
    Hour,
    /// A minute above 59, or above 0 in hour 24.
    Minute,
    /// `-` or `~` and the end are expected after the start.
    NoEnd,
    /// The window ends when it starts: nothing or the whole day could be meant.
    NoLength,
    /// A number of parts from 1 to [`PARTS_MAX`] is expected.
    PartCount,
    /// Parts would be shorter than a minute.
    PartLength,
    /// An offset of more than 14 hours: there is no such place.
    Zone,
    /// The text goes on where a `;`, or its end, is expected.
    NoSeparator,
}

impl Windows {
    /// Reads a list of windows in the grammar above.
    ///
    /// # Errors
    /// [`WindowError`] with the place and what is expected there.
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let mut cursor = Cursor { text: text.as_bytes(), at: 0 };
        let mut list = Vec::new();
        cursor.spaces();
        if cursor.peek().is_none() {
            return Ok(Self { list });
        }
        loop {
            cursor.spaces();
            let start = cursor.at;
            let window = Window::take(&mut cursor)?;
            list.push(window)
                .map_err(|_| WindowError { at: start, fault: WindowFault::WindowCount })?;
            cursor.spaces();
            if cursor.peek().is_none() {
                return Ok(Self { list });
            }
            let at = cursor.at;
            if !(cursor.eat(b';') || cursor.eat(b',') && cursor.eat(b',')) {
                return Err(WindowError { at, fault: WindowFault::NoSeparator });
            }
        }
    }

    /// Whether the device with the id `device` may be disturbed at `now`, unix time in seconds.
    #[must_use]
    pub fn state(&self, now: u64, device: &[u8; 16]) -> WindowState {
        if self.list.is_empty() {
            return WindowState::Open { closes_at: u64::MAX };
        }
        // Windows may adjoin and overlap: it closes where no other one takes over. Each step is to
        // the end of another window, so the loop ends.
        let mut open_until_s = 0;
        while let Some(end) = self.open_until(now, open_until_s, device) {
            open_until_s = end;
            if open_until_s > WEEK_S {
                return WindowState::Open { closes_at: u64::MAX };
            }
        }
        if open_until_s > 0 {
            return WindowState::Open { closes_at: later(now, open_until_s) };
        }
        // Yesterday's window may open today, if its opening is drawn. A window of today's weekday
        // that is over comes again in seven days.
        let spans =
            self.list.iter().flat_map(|w| (-1..=7).filter_map(|day| w.span(now, day, device)));
        let opening = spans.map(|span| span.start).filter(|start| *start > 0).min();
        // There is one, because every window has a day.
        WindowState::Closed { opens_at: later(now, opening.unwrap_or(WEEK_S)) }
    }

    /// The latest end, in seconds after `now`, of the windows that are open `at_s` seconds after
    /// `now`.
    fn open_until(&self, now: u64, at_s: i32, device: &[u8; 16]) -> Option<i32> {
        let open = self.list.iter().flat_map(|window| {
            let day = (window.local(now).second_of_day + at_s).div_euclid(DAY_S);
            // No window is longer than a day: what is open began on that day or on the one before.
            [day - 1, day].into_iter().filter_map(|day| window.span(now, day, device))
        });
        open.filter(|span| span.contains(&at_s)).map(|span| span.end).max()
    }

    /// Those that are the same for every device.
    #[must_use]
    pub fn undrawn(&self) -> Self {
        Self { list: self.list.iter().filter(|window| !window.is_drawn()).copied().collect() }
    }

    /// The windows, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.list.iter()
    }

    /// Whether there are no windows at all: always open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// `offset_s` is above zero.
fn later(now: u64, offset_s: i32) -> u64 {
    now.saturating_add(offset_s.unsigned_abs().into())
}

/// An instant in the zone of a window.
struct Local {
    /// Days since 1970-01-01; one before that wraps, which only the draw sees.
    day: u64,
    /// 0 is Monday.
    weekday: i32,
    second_of_day: i32,
}

impl WindowState {
    /// Whether it is open.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

impl Window {
    /// Whether what a device gets of it follows from its id.
    #[must_use]
    pub const fn is_drawn(&self) -> bool {
        self.spread || self.parts.get() > 1
    }

    fn local(&self, now: u64) -> Local {
        const DAY: u64 = DAY_S as u64;
        let (utc_day, utc_second) = (now / DAY, now % DAY);
        // Below one day, so the cast keeps it; a zone adds less than another day.
        let second = utc_second as i32 + i32::from(self.zone_min) * MINUTE_S;
        let shift = second.div_euclid(DAY_S);
        Local {
            day: utc_day.wrapping_add_signed(shift.into()),
            // 1970-01-01 was a Thursday.
            weekday: ((utc_day % 7) as i32 + 3 + shift).rem_euclid(7),
            second_of_day: second.rem_euclid(DAY_S),
        }
    }

    /// When the window is open that starts `day` days after today, local time, for this device; in
    /// seconds after `now`. `None` if it does not start on that day. `day` is at most two weeks off.
    fn span(&self, now: u64, day: i32, device: &[u8; 16]) -> Option<Range<i32>> {
        let local = self.local(now);
        if self.days >> (local.weekday + day).rem_euclid(7) & 1 == 0 {
            return None;
        }
        let midnight = day * DAY_S - local.second_of_day;
        let opening = midnight + i32::from(self.start_min) * MINUTE_S;
        let length = i32::from(self.length_min) * MINUTE_S;
        let [part, spread] = draw(device, local.day.wrapping_add_signed(day.into()));
        let parts = self.parts.get();
        // Below 24, so the cast keeps it; a day times 24 is far below the range of i32.
        let (part, parts) = ((part % u64::from(parts)) as i32, i32::from(parts));
        let mut start = part * length / parts;
        let end = (part + 1) * length / parts;
        if self.spread {
            // A part is at least a minute long, so there is at least one second to draw.
            let choices = (end - start - MINUTE_S + 1).max(1);
            start += (spread % u64::from(choices.unsigned_abs())) as i32;
        }
        Some(opening + start..opening + end)
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, WindowError> {
        let days = match cursor.peek() {
            Some(byte) if byte.is_ascii_alphabetic() => cursor.days()?,
            Some(byte) if byte.is_ascii_digit() => ALL_DAYS,
            Some(_) | None => return Err(cursor.error(WindowFault::NoWindow)),
        };
        let start_at = cursor.at;
        let start = cursor.time()?;
        if start == DAY_MIN {
            return Err(WindowError { at: start_at, fault: WindowFault::Hour });
        }
        let spread = cursor.eat(b'~');
        if !spread && !cursor.eat(b'-') {
            return Err(cursor.error(WindowFault::NoEnd));
        }
        let end_at = cursor.at;
        let end = cursor.time()?;
        if end == start {
            return Err(WindowError { at: end_at, fault: WindowFault::NoLength });
        }
        // Both are at most one day, and the second branch adds one.
        let length = if end > start { end - start } else { end + DAY_MIN - start };
        let mut parts = NonZeroU8::MIN;
        if cursor.eat(b'/') {
            let parts_at = cursor.at;
            parts = cursor.parts()?;
            if u16::from(parts.get()) > length {
                return Err(WindowError { at: parts_at, fault: WindowFault::PartLength });
            }
        }
        let zone_min = cursor.zone()?;
        Ok(Self { days, start_min: start, length_min: length, parts, spread, zone_min })
    }
}

/// Two numbers for a device on a day (the part, the spread), in days since 1970-01-01.
///
/// Outputs of SplitMix64. Its state takes in the first and the second half of the id, both
/// little-endian, and the day, each by exclusive or and one round; the outputs are the next two.
/// This spreads a fleet. It is no protection against an attacker. Frozen: a change would move every
/// device's window.
#[must_use]
pub fn draw(device: &[u8; 16], day: u64) -> [u64; 2] {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    const SEED: u64 = u64::from_be_bytes(*b"windowv1");
    let round = |state: u64| {
        let z = state.wrapping_add(GAMMA);
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    let id = u128::from_le_bytes(*device);
    // Both halves in turn, so the casts cut on purpose.
    let words = [id as u64, (id >> 64) as u64, day];
    let state = words.into_iter().fold(SEED, |state, word| round(state ^ word));
    [round(state), round(state.wrapping_add(GAMMA))]
}

/// A place in the text.
struct Cursor<'a> {
    text: &'a [u8],
    /// At most the length of the text.
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn spaces(&mut self) {
        while self.eat(b' ') {}
    }

    const fn error(&self, fault: WindowFault) -> WindowError {
        WindowError { at: self.at, fault }
    }

    /// Days, up to and with the comma and spaces after them.
    fn days(&mut self) -> Result<u8, WindowError> {
        let mut days = 0;
        loop {
            let first = self.day()?;
            days |= 1 << first;
            if self.eat(b'-') {
                let last_at = self.at;
                let last = self.day()?;
                if last == first {
                    return Err(WindowError { at: last_at, fault: WindowFault::SameDay });
                }
                // At most six steps, over the end of the week if need be.
                let mut day = first;
                while day != last {
                    day = (day + 1) % 7;
                    days |= 1 << day;
                }
            }
            self.spaces();
            if !self.eat(b',') {
                return Err(self.error(WindowFault::NoComma));
            }
            self.spaces();
            if !self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
                return Ok(days);
            }
        }
    }

    /// The number of a day, from 0 for Monday.
    fn day(&mut self) -> Result<usize, WindowError> {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = rest.get(..len).unwrap_or(&[]);
        let day = DAYS.iter().position(|day| day.as_bytes().eq_ignore_ascii_case(word));
        let day = day.ok_or(self.error(WindowFault::NoDay))?;
        self.at += len;
        Ok(day)
    }

    /// Minutes since midnight, up to 24:00.
    fn time(&mut self) -> Result<u16, WindowError> {
        let &[h1, h2, b':', m1, m2, ..] = self.text.get(self.at..).unwrap_or(&[]) else {
            return Err(self.error(WindowFault::NoTime));
        };
        let digits = [h1, h2, m1, m2];
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(self.error(WindowFault::NoTime));
        }
        let [h1, h2, m1, m2] = digits.map(|digit| u16::from(digit - b'0'));
        let (hour, minute) = (h1 * 10 + h2, m1 * 10 + m2);
        if hour > 24 {
            return Err(self.error(WindowFault::Hour));
        }
        if minute > 59 || hour == 24 && minute > 0 {
            return Err(WindowError { at: self.at + 3, fault: WindowFault::Minute });
        }
        self.at += 5;
        Ok(hour * 60 + minute)
    }

    fn parts(&mut self) -> Result<NonZeroU8, WindowError> {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (parts, canonical) = match *rest.get(..len).unwrap_or(&[]) {
            [one] => (one - b'0', true),
            [ten, one] => ((ten - b'0') * 10 + (one - b'0'), ten != b'0'),
            [..] => (0, false),
        };
        match NonZeroU8::new(parts) {
            Some(parts) if canonical && parts.get() <= PARTS_MAX => {
                self.at += len;
                Ok(parts)
            }
            Some(_) | None => Err(self.error(WindowFault::PartCount)),
        }
    }

    /// Minutes ahead of UTC; 0 where no zone is given.
    fn zone(&mut self) -> Result<i16, WindowError> {
        if self.eat(b'Z') || self.eat(b'z') {
            return Ok(0);
        }
        let ahead = self.eat(b'+');
        if !ahead && !self.eat(b'-') {
            return Ok(0);
        }
        let at = self.at;
        let offset = self.time()?;
        if offset > ZONE_MAX_MIN {
            return Err(WindowError { at, fault: WindowFault::Zone });
        }
        // At most 840, so the cast keeps it.
        let offset = offset as i16;
        Ok(if ahead { offset } else { -offset })
    }
}

/// The canonical text, which [`parse`](Self::parse) reads as these windows again: lower case, no
/// spaces, `;` between windows, runs of three days and more as ranges, no days for the whole week,
/// midnight as an end written `24:00`, no zone for UTC.
impl Display for Windows {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, window) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str(";")?;
            }
            window.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Window {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.days & ALL_DAYS != ALL_DAYS {
            self.fmt_days(f)?;
        }
        fmt_time(f, self.start_min)?;
        f.write_str(if self.spread { "~" } else { "-" })?;
        let end = self.start_min + self.length_min;
        fmt_time(f, if end > DAY_MIN { end - DAY_MIN } else { end })?;
        if self.parts.get() > 1 {
            write!(f, "/{}", self.parts)?;
        }
        if self.zone_min != 0 {
            f.write_str(if self.zone_min > 0 { "+" } else { "-" })?;
            fmt_time(f, self.zone_min.unsigned_abs())?;
        }
        Ok(())
    }
}

impl Window {
    /// Each run of days with a comma after it.
    fn fmt_days(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let has = |day: usize| self.days >> (day % 7) & 1 == 1;
        // A run starts where the day before is not set, which for Monday is Sunday.
        for (first, name) in DAYS.iter().enumerate().filter(|(day, _)| has(*day) && !has(day + 6)) {
            let len = (first..first + 7).take_while(|day| has(*day)).count();
            f.write_str(name)?;
            if len > 1 {
                let last = DAYS.iter().cycle().nth(first + len - 1).unwrap_or(name);
                write!(f, "{}{last}", if len > 2 { "-" } else { "," })?;
            }
            f.write_str(",")?;
        }
        Ok(())
    }
}

fn fmt_time(f: &mut Formatter<'_>, minutes: u16) -> fmt::Result {
    write!(f, "{:02}:{:02}", minutes / 60, minutes % 60)
}

impl Display for WindowFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWindow => "expected a window such as mon-fri,02:00-05:00",
            Self::WindowCount => "there are more than 8 windows",
            Self::NoDay => "expected mon, tue, wed, thu, fri, sat or sun",
            Self::SameDay => {
                "a range of days needs two different ones: leave days away for the whole week"
            }
            Self::NoComma => "expected a comma after days",
            Self::NoTime => "expected a time as HH:MM",
            Self::Hour => "hours are 00 to 23, and 24:00 may only be an end",
            Self::Minute => "minutes are 00 to 59, and 24:00 is the end of the day",
            Self::NoEnd => "expected - or ~ and the end of the window",
            Self::NoLength => "the window ends when it starts: write 00:00-24:00 for a whole day",
            Self::PartCount => "expected a number of parts from 1 to 24",
            Self::PartLength => "the parts would be shorter than a minute",
            Self::Zone => "offsets from UTC are at most 14:00",
            Self::NoSeparator => "expected ; and another window, or the end",
        })
    }
}

impl Display for WindowError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "at position {}: {}", self.at.saturating_add(1), self.fault)
    }
}

impl core::error::Error for WindowFault {}
impl core::error::Error for WindowError {}
