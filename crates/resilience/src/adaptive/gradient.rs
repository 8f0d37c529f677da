//! The rule of the adaptive limit, as a plain function of the times that calls took.
//!
//! It is a gradient, as in Netflix's concurrency-limits (after TCP Vegas; see "Performance Under Load", Netflix
//! Technology Blog, 2018): what calls take now is compared to what a call takes that waits for nobody. As long as it is
//! no more than the tolerance, the limit grows by a small queue; as it gets longer, the limit shrinks in proportion. An
//! overload that shows itself by a refusal or a timeout shrinks it at once, by a tenth (as AIMD does).
//!
//! What a call takes alone is not learned from a long mean, as there: under a load that lasts, the mean comes to hold the
//! queue that it is to show, and the limit grows without end. It is measured, as by Envoy's gradient controller and
//! TCP BBR's ProbeRTT: once in so many rounds the limit is at its least for a few calls. Calls that are fast enough
//! whatever they take alone are not measured, so that nothing is refused for it.

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
    /// A call that takes less is no sign of a queue, however little it takes alone. Default 0: each may be one.
    pub unhurried: Duration,
    /// How far one call moves the limit, from 0 to 1. Default 0.2.
    pub smoothing: f64,
    /// After so many rounds, of as many calls as the limit, it is measured what a call takes alone. Default 100, which
    /// costs about a fortieth of what the service can do.
    pub rounds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial: 20,
            least: 4,
            most: 1_000,
            tolerance: 1.5,
            unhurried: Duration::ZERO,
            smoothing: 0.2,
            rounds: 100,
        }
    }
}

/// So many calls may queue at the service.
const QUEUE: f64 = 4.0;
/// What is left of the limit after an overload.
const AFTER_OVERLOAD: f64 = 0.9;
/// How far one call brings down what a call takes alone, where calls have become faster.
const FASTER: f64 = 0.02;
/// What a call takes alone is the mean of so many.
const MEASURED: u32 = 10;
/// So many rounds after the start it is measured for the first time: what calls took until then was under any load.
const FIRST_ROUNDS: u32 = 5;

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Gradient {
    settings: Settings,
    limit: f64,
    /// What a call takes that waits for nobody, in seconds.
    alone: Mean,
    /// What calls take now, in seconds.
    now: f64,
    /// So many calls that try the limit until it is measured.
    until: u32,
    /// What was measured so far.
    measuring: Option<Mean>,
}

/// A mean in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    of: u32,
    is: f64,
}

impl Mean {
    fn add(&mut self, seconds: f64) {
        self.of += 1;
        self.is += (seconds - self.is) / f64::from(self.of);
    }

    fn is_whole(self) -> bool {
        self.of >= MEASURED
    }
}

impl Gradient {
    /// The rule at its first limit.
    pub fn new(settings: Settings) -> Self {
        let mut gradient = Self {
            limit: f64::from(settings.initial),
            settings,
            alone: Mean::default(),
            now: 0.0,
            until: 0,
            measuring: None,
        };
        gradient.set(gradient.limit);
        gradient.until = gradient.calls(FIRST_ROUNDS.min(settings.rounds));
        gradient
    }

    /// So many calls may be under way.
    pub fn limit(&self) -> u32 {
        match self.measuring {
            Some(_) => self.settings.least.max(1),
            None => self.limit as u32,
        }
    }

    /// A call was answered in this time, and as many were under way when it began.
    pub fn answered(&mut self, took: Duration, in_flight: u32) {
        let took = took.as_secs_f64().max(1e-9);
        let limit = self.limit();
        if self.measuring.is_none() {
            self.remember(took);
        }
        // A limit that nobody comes near is not to grow without having been tried.
        if in_flight.saturating_mul(2) < limit {
            return;
        }
        match &mut self.measuring {
            // It began before, and waited for others.
            Some(_) if in_flight > limit => {}
            Some(measured) => {
                measured.add(took);
                if measured.is_whole() {
                    (self.alone, self.now) = (*measured, measured.is);
                    self.measuring = None;
                    self.until = self.calls(self.settings.rounds);
                }
            }
            None => self.tried(),
        }
    }

    /// A call was refused or given up because there is too much to do.
    pub fn overloaded(&mut self) {
        self.set(self.limit * AFTER_OVERLOAD);
    }

    fn tried(&mut self) {
        let unhurried = self.settings.unhurried.as_secs_f64();
        let gradient = (self.tolerable(self.alone.is.max(unhurried)) / self.now).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + QUEUE;
        self.set(self.limit + (wanted - self.limit) * self.smoothing());
        self.until = self.until.saturating_sub(1);
        if self.until == 0 && self.now > self.tolerable(unhurried) {
            self.measuring = Some(Mean::default());
        }
    }

    /// What a call may take that takes so many seconds alone.
    fn tolerable(&self, alone: f64) -> f64 {
        self.settings.tolerance * alone
    }

    fn remember(&mut self, took: f64) {
        if !self.alone.is_whole() {
            self.alone.add(took);
            self.now = self.alone.is;
            return;
        }
        self.now += (took - self.now) * self.smoothing();
        // What became faster needs no measuring.
        if self.now < self.alone.is {
            self.alone.is += (self.now - self.alone.is) * FASTER;
        }
    }

    fn smoothing(&self) -> f64 {
        self.settings.smoothing.clamp(0.0, 1.0)
    }

    /// As many as in so many rounds.
    fn calls(&self, rounds: u32) -> u32 {
        rounds.max(1).saturating_mul(self.limit as u32)
    }

    fn set(&mut self, limit: f64) {
        let least = self.settings.least.max(1);
        let most = self.settings.most.max(least);
        self.limit = limit.clamp(f64::from(least), f64::from(most));
    }
}
