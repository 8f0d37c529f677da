//! The rule of the adaptive limit, as a plain function of the times that calls took.
//!
//! It is that of `Gradient2` in Netflix's concurrency-limits (after TCP Vegas; see "Performance Under Load", Netflix
//! Technology Blog, 2018): what a call takes now is compared to what calls take in the long run. As long as it is no
//! more than the tolerance, the limit grows by a small queue; as it gets longer, the limit shrinks in proportion. An
//! overload that shows itself by a refusal or a timeout shrinks it at once, by a tenth (as AIMD does).

use std::time::Duration;

/// How a limit moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The first limit. Default 20.
    pub initial: u32,
    /// It is never less, of at least 1. Default 4.
    pub least: u32,
    /// It is never more. Default 1,000.
    pub most: u32,
    /// So many times longer than in the long run a call may take before the limit shrinks. Default 1.5.
    pub tolerance: f64,
    /// How far one call moves the limit, from 0 to 1. Default 0.2.
    pub smoothing: f64,
    /// The long run is the mean of about so many calls. Default 600.
    pub long_run: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial: 20,
            least: 4,
            most: 1_000,
            tolerance: 1.5,
            smoothing: 0.2,
            long_run: 600,
        }
    }
}

/// So many calls may queue at the service.
const QUEUE: f64 = 4.0;
/// What is left of the limit after an overload.
const AFTER_OVERLOAD: f64 = 0.9;
/// The long run is a plain mean for so many calls.
const WARM_UP: u32 = 10;

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Gradient {
    settings: Settings,
    limit: f64,
    /// What calls take in the long run, in seconds.
    long: f64,
    seen: u32,
}

impl Gradient {
    /// The rule at its first limit.
    pub fn new(settings: Settings) -> Self {
        let mut gradient = Self {
            limit: f64::from(settings.initial),
            settings,
            long: 0.0,
            seen: 0,
        };
        gradient.set(gradient.limit);
        gradient
    }

    /// So many calls may be under way.
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// A call was answered in this time, and as many were under way when it began.
    pub fn answered(&mut self, took: Duration, in_flight: u32) {
        let short = took.as_secs_f64().max(1e-9);
        self.remember(short);
        // A limit that nobody comes near is not to grow without having been tried.
        if f64::from(in_flight) < self.limit / 2.0 {
            return;
        }
        let gradient = (self.settings.tolerance * self.long / short).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + QUEUE;
        let smoothing = self.settings.smoothing.clamp(0.0, 1.0);
        self.set(self.limit + (wanted - self.limit) * smoothing);
    }

    /// A call was refused or given up because there is too much to do.
    pub fn overloaded(&mut self) {
        self.set(self.limit * AFTER_OVERLOAD);
    }

    fn remember(&mut self, short: f64) {
        self.seen = self.seen.saturating_add(1);
        let calls = match self.seen {
            seen @ ..=WARM_UP => f64::from(seen),
            _ => f64::from(self.settings.long_run.max(1)),
        };
        self.long += (short - self.long) / calls;
        // After an overload the long run is too long for a while; it comes back faster than by its mean.
        if self.long > 2.0 * short {
            self.long *= 0.95;
        }
    }

    fn set(&mut self, limit: f64) {
        let least = self.settings.least.max(1);
        let most = self.settings.most.max(least);
        self.limit = limit.clamp(f64::from(least), f64::from(most));
    }
}
