//! Progress of long work on standard error: a bar on a terminal, now and then a line elsewhere.
//! Work of less than a second shows nothing.

use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::output::{Output, ProgressStyle};
use crate::size;

/// Work shorter than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a bar is looked at: more would slow the work down.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    #[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "the lab alone counts parts"))]
    Parts,
}

impl Unit {
    const fn template(self) -> &'static str {
        match self {
            Self::Bytes => {
                "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
            }
            Self::Parts => "{msg} {wide_bar} {pos}/{len} {eta}",
        }
    }

    fn show(self, count: u64) -> String {
        match self {
            Self::Bytes => size::show(count),
            Self::Parts => count.to_string(),
        }
    }
}

/// The progress of one phase.
pub struct Progress {
    style: ProgressStyle,
    what: String,
    unit: Unit,
    total: u64,
    began: Instant,
    has_begun: bool,
    looked: Instant,
    /// Tenths that were reported already; `None` before the first message.
    told: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A phase of `total` bytes, 0 if that is not known yet.
    pub fn new(out: &Output, what: impl Into<String>, total: u64) -> Self {
        Self::with_unit(out, what, total, Unit::Bytes)
    }

    /// A phase of `total` parts.
    #[cfg(feature = "lab")]
    pub fn of_parts(out: &Output, what: impl Into<String>, total: u64) -> Self {
        Self::with_unit(out, what, total, Unit::Parts)
    }

    fn with_unit(out: &Output, what: impl Into<String>, total: u64, unit: Unit) -> Self {
        let now = Instant::now();
        Self {
            style: out.progress(),
            what: what.into(),
            unit,
            total,
            began: now,
            has_begun: false,
            looked: now,
            told: None,
            bar: None,
        }
    }

    /// Sets the total once it is known.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
    }

    /// Tells that so much is done. The phase begins when this is called first.
    pub fn set(&mut self, done: u64) {
        if !self.has_begun {
            self.has_begun = true;
            self.began = Instant::now();
        }
        match self.style {
            ProgressStyle::Silent => {}
            ProgressStyle::Bar => self.draw(done),
            ProgressStyle::Lines => self.tell(done),
        }
    }

    fn draw(&mut self, done: u64) {
        let now = Instant::now();
        if now - self.looked < INTERVAL || now - self.began < PATIENCE {
            return;
        }
        self.looked = now;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr());
            let style = indicatif::ProgressStyle::with_template(self.unit.template());
            // The template is a constant and valid; otherwise the default style is used.
            let bar = match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            };
            bar.with_message(self.what.clone()).with_elapsed(now - self.began)
        });
        bar.set_length(self.total.max(done));
        bar.set_position(done);
    }

    fn tell(&mut self, done: u64) {
        let now = Instant::now();
        if now - self.looked < INTERVAL || now - self.began < PATIENCE {
            return;
        }
        self.looked = now;
        let tenths = (done.saturating_mul(10)).checked_div(self.total).unwrap_or(0).min(10);
        if self.told.is_some_and(|told| told >= tenths) {
            return;
        }
        self.told = Some(tenths);
        // On the average of all that was done until now.
        let seconds = (now - self.began).as_secs_f64();
        let rate = (done as f64 / seconds) as u64;
        let left = self.total.saturating_sub(done).checked_div(rate).unwrap_or(0);
        let _ = if self.total == 0 {
            writeln!(std::io::stderr(), "{} ...", self.what)
        } else {
            writeln!(
                std::io::stderr(),
                "{}: {} of {} ({} %), {} a second, {} s left",
                self.what,
                self.unit.show(done),
                self.unit.show(self.total),
                tenths * 10,
                self.unit.show(rate),
                left
            )
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
