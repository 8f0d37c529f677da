//! How far something has come, on a terminal only: a file or a pipe would keep every step of it.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use env::Instant;

const WIDTH: u64 = 30;

/// A line that is written over until it is cleared.
pub(crate) struct Progress {
    what: &'static str,
    began: Instant,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn of(what: &'static str) -> Self {
        Self {
            what,
            began: env::instant(),
            is_shown: stderr().is_terminal(),
        }
    }

    /// So many are done of so many.
    pub(crate) fn show(&mut self, done: u64, all: u64) {
        if !self.is_shown {
            return;
        }
        let filled = (done * WIDTH / all.max(1)).min(WIDTH) as usize;
        let bar = format!(
            "{}{}",
            "#".repeat(filled),
            ".".repeat(WIDTH as usize - filled)
        );
        let seconds = (env::instant() - self.began)
            .as_secs_f64()
            .max(f64::EPSILON);
        let rate = done as f64 / seconds;
        let left =
            Duration::from_secs((all.saturating_sub(done) as f64 / rate.max(f64::EPSILON)) as u64);
        let what = self.what;
        // A terminal that is gone takes nothing any more, and misses nothing.
        let _ = write!(
            stderr(),
            "\r[{bar}] {done}/{all} {what}, {rate:.1}/s, {left:?} left \x1b[K"
        );
    }

    /// Takes the line away, for other text to come.
    pub(crate) fn clear(&mut self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
