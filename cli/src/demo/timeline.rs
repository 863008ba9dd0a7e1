//! What happened and when, one line each.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use serde_json::{Value, json};

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Things take their course.
    Plain,
    /// A person or a fault does the device harm.
    Harm,
    /// The device holds out.
    Well,
}

/// Prints events as they happen, and keeps them.
pub struct Timeline {
    start: Instant,
    style: Style,
    /// Print nothing: the events go into one JSON value at the end.
    silent: bool,
    events: Vec<Value>,
    /// The first error of writing to standard output.
    unheard: Option<io::Error>,
}

impl Timeline {
    /// Starts now.
    pub fn start(silent: bool) -> Self {
        let (style, events) = (Style::detect(), Vec::new());
        Self { start: Instant::now(), style, silent, events, unheard: None }
    }

    /// Something happened.
    pub fn event(&mut self, tone: Tone, event: &str, detail: impl AsRef<str>) {
        let (seconds, detail) = (self.seconds(), detail.as_ref());
        self.events.push(json!({
            "seconds": (seconds * 1000.0).round() / 1000.0,
            "event": event,
            "detail": detail,
        }));
        let painted = self.style.tone(tone, event);
        self.say(&line(seconds, &painted, event.len(), detail));
    }

    /// A line for people.
    pub fn say(&mut self, text: &str) {
        if !self.silent {
            self.print(text);
        }
    }

    /// Prints a line on standard output.
    pub fn print(&mut self, text: &str) {
        if self.unheard.is_none() {
            self.unheard = writeln!(io::stdout(), "{text}").err();
        }
    }

    /// Results that were not written to standard output are no success.
    ///
    /// # Errors
    /// The first error of writing to standard output.
    pub fn heard(self) -> io::Result<()> {
        self.unheard.map_or(Ok(()), Err)
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// All events so far.
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// How to print on this output.
    pub fn style(&self) -> Style {
        self.style
    }
}

/// The width of the second column.
const EVENT_WIDTH: usize = 12;

/// `painted` is the event with `len` characters and what makes it coloured.
fn line(seconds: f64, painted: &str, len: usize, detail: &str) -> String {
    let pad = " ".repeat(EVENT_WIDTH.saturating_sub(len));
    format!("{seconds:7.3} s  {painted}{pad} {detail}")
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colours only on a terminal, and not if `NO_COLOR` is set.
    fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !refused }
    }

    /// No colours.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    fn tone(self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Plain => self.paint("1", text),
            Tone::Harm => self.paint("33", text),
            Tone::Well => self.paint("32", text),
        }
    }

    /// Green for what is as it should be, red for what is not.
    pub fn verdict(self, well: bool, text: &str) -> String {
        self.paint(if well { "1;32" } else { "1;31" }, text)
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `bytes` for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// `count` with a noun: `1 cut`, `2 cuts`.
pub fn count(count: u64, noun: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_colour() {
        let plain = line(1.0, "boot", 4, "slot a");
        assert_eq!(plain, "  1.000 s  boot         slot a");
        let coloured = line(12.3456, "\x1b[1mpower cut\x1b[0m", 9, "x");
        assert_eq!(coloured, " 12.346 s  \x1b[1mpower cut\x1b[0m    x");
    }

    #[test]
    fn plain_style_adds_nothing() {
        let style = Style::plain();
        assert_eq!(style.verdict(true, "yes") + &style.bold("x"), "yesx");
        assert_eq!(style.tone(Tone::Harm, "cut"), "cut");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(65_536), "65.5 kB");
        assert_eq!(size(15_411_540), "15.4 MB");
        assert_eq!(count(1, "cut"), "1 cut");
        assert_eq!(count(0, "cut"), "0 cuts");
    }
}
