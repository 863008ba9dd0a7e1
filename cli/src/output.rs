//! Where a command's words go: lines for people or one JSON object for scripts, never both.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use crate::failure::{Exit, Failure};

/// What the user wants to see.
#[derive(Debug)]
pub struct Output {
    /// One JSON object instead of lines.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    /// The first error of writing to standard output: results that nobody got are a failure.
    broken: RefCell<Option<io::Error>>,
    /// The exit code of a failure that was told already.
    told: Cell<u8>,
}

impl Output {
    /// Output as `--json` and `--quiet` ask for it.
    pub const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, broken: RefCell::new(None), told: Cell::new(0) }
    }

    /// A line for people; nothing with `--json`.
    pub fn line(&self, text: impl Display) {
        if !self.json {
            self.write(&text);
        }
    }

    /// The result for scripts; nothing without `--json`. Called once by a command that succeeds.
    pub fn result(&self, value: impl FnOnce() -> serde_json::Value) {
        if self.json {
            self.write(&value());
        }
    }

    /// A remark on standard error that a script need not parse.
    pub fn warn(&self, text: impl Display) {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "stillboot: warning: {text}");
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
            self.write(&value);
        } else {
            let _ = writeln!(io::stderr(), "stillboot: {}", failure.message);
        }
        exit
    }

    /// The command failed, and has said all there is to say itself.
    pub fn told(&self, exit: Exit) {
        self.told.set(exit as u8);
    }

    /// The exit code of a command that came to its end, if its words got out.
    pub fn finish(&self) -> u8 {
        match self.broken.borrow_mut().take() {
            // Who closed the pipe has read enough.
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
