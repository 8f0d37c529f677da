//! Asking instances for their health: a request every few seconds to the path that each has named.
//!
//! One answer changes nothing: so many failures in a row take an instance out, so many successes bring it back. What
//! counts is how an instance answers this caller; the registry may know more.

use std::time::Duration;

/// How instances are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often each is asked. Default 5 s.
    pub every: Duration,
    /// How long it may take to answer. Default 1 s.
    pub timeout: Duration,
    /// So many bad answers in a row take it out. Default 3.
    pub unhealthy: u32,
    /// So many good ones bring it back. Default 2.
    pub healthy: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy: 3,
            healthy: 2,
        }
    }
}

/// The answers of one instance, judged. It is healthy until it shows otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probes {
    unhealthy: bool,
    /// The answers in a row that speak against what it is taken for.
    against: u32,
}

impl Probes {
    /// It answered well or not. Whether it is healthy, if that has changed.
    pub fn seen(&mut self, well: bool, settings: &Settings) -> Option<bool> {
        if well != self.unhealthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.unhealthy {
            settings.healthy
        } else {
            settings.unhealthy
        };
        if self.against < needed {
            return None;
        }
        *self = Self {
            unhealthy: !self.unhealthy,
            against: 0,
        };
        Some(!self.unhealthy)
    }
}
