//! Where a command's output goes: lines for people or one JSON object for scripts, never both.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use crate::failure::{Exit, Failure};

/// What the user wants to see.
#[derive(Debug)]
pub struct Output {
    /// One JSON object instead of lines.
    pub json: bool,
    /// Do not show progress.
    pub quiet: bool,
    /// The first error of writing to standard output: results that were not written are a failure.
    broken: RefCell<Option<io::Error>>,
    /// The exit code of a failure that was reported already.
    told: Cell<u8>,
}

impl Output {
    /// Output as `--json` and `--quiet` ask for it.
    pub const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, broken: RefCell::new(None), told: Cell::new(0) }
    }

    /// A line for people; nothing with `--json`. What it quotes may be unsigned, or signed to be
    /// shown: nothing in it reaches the terminal as a command, or as a line of ours.
    pub fn line(&self, text: impl Display) {
        if !self.json {
            self.write(&harmless(&text.to_string(), false));
        }
    }

    /// The result for scripts; nothing without `--json`. Called once by a command that succeeds.
    pub fn result(&self, value: impl FnOnce() -> serde_json::Value) {
        if self.json {
            self.write(&plain(&with_schema(value())));
        }
    }

    /// A remark on standard error that a script need not parse.
    pub fn warn(&self, text: impl Display) {
        // Where standard error is closed the warning is lost.
        let _ = writeln!(io::stderr(), "stillboot: warning: {}", harmless(&text.to_string(), true));
    }

    /// Whether progress is shown, and whether as a bar.
    pub fn progress(&self) -> ProgressStyle {
        if self.json || self.quiet {
            ProgressStyle::Silent
        } else if io::stderr().is_terminal() {
            ProgressStyle::Bar
        } else {
            ProgressStyle::Lines
        }
    }

    /// Says how the command failed, and gives the exit code.
    pub fn fail(&self, failure: &Failure) -> u8 {
        let exit = failure.exit as u8;
        if self.json {
            let mut value = serde_json::json!({
                "error": failure.message, "exit": exit, "kind": failure.kind,
            });
            if let (Some(object), Some(serde_json::Value::Object(details))) =
                (value.as_object_mut(), failure.details.clone())
            {
                for (key, detail) in details {
                    object.entry(key).or_insert(detail);
                }
            }
            self.write(&plain(&with_schema(value)));
        } else {
            let _ = writeln!(io::stderr(), "stillboot: {}", harmless(&failure.message, true));
        }
        exit
    }

    /// The command failed, and has said all there is to say itself.
    pub fn exit_with(&self, exit: Exit) {
        self.told.set(exit as u8);
    }

    /// The exit code of a command that came to its end, if its words got out.
    pub fn finish(&self) -> u8 {
        match self.broken.borrow_mut().take() {
            // The reader that closed the pipe has read enough.
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                let _ = writeln!(io::stderr(), "stillboot: cannot write the result: {error}");
                Exit::Failed as u8
            }
            _ => self.told.get(),
        }
    }

    fn write(&self, text: &dyn Display) {
        if let Err(error) = writeln!(io::stdout(), "{text}") {
            self.broken.borrow_mut().get_or_insert(error);
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressStyle {
    /// Not at all.
    Silent,
    /// A bar on a terminal.
    Bar,
    /// A line now and then, for logs.
    Lines,
}

/// The number of the shape that all JSON has, errors too: `docs/JSON.md` says what each key means.
/// Keys are added under the same number; one that goes or changes its meaning raises it.
pub const SCHEMA: u64 = 1;

/// `value` with that number in it.
pub fn with_schema(mut value: serde_json::Value) -> serde_json::Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("schema".into(), SCHEMA.into());
    }
    value
}

/// A value as JSON that may be shown on a terminal: the format itself lets these characters stand,
/// and they are in texts alone.
pub fn plain(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for character in value.to_string().chars() {
        match character {
            '\u{7f}'..='\u{9f}' => out += &format!("\\u{:04x}", u32::from(character)),
            character => out.push(character),
        }
    }
    out
}

/// Whether a character is not seen where it stands, or turns what is read around: with one in it a
/// name looks like another name.
pub fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}'
    ) || character.is_control()
}

/// `text` with characters that a terminal acts on, or that turn what is read around, written out.
/// With `lines`, line ends stay, and what follows them is indented: a message may quote a file.
pub fn harmless(text: &str, lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' if lines => out.push_str("\n  "),
            character if is_unseen(character) => out.extend(character.escape_default()),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        for (text, shown) in [
            ("version 1.0.0", "version 1.0.0"),
            ("1.0\nslot b  9.9.9  good", "1.0\\nslot b  9.9.9  good"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\tc", "a\\rb\\tc"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}evil", "\\u{202e}evil"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("h\u{e9}llo", "h\u{e9}llo"),
        ] {
            assert_eq!(harmless(text, false), shown);
        }
        assert_eq!(harmless("expected\nstillboot: done", true), "expected\n  stillboot: done");
    }
}
