//! The rules of a circuit breaker, as plain functions of the time that they are given.

use std::time::Duration;

use env::Instant;

/// When a breaker opens and closes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// So many failures in a row open it. Default 5.
    pub failures: u32,
    /// How long it stays open. Up to a fifth is added by chance, so that callers do not come back all at once.
    /// Default 5 s.
    pub recovery: Duration,
    /// So many probes may be under way at once when it is half open. Default 1.
    pub probes: u32,
    /// So many successes in a row close it again. Default 3.
    pub successes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            recovery: Duration::from_secs(5),
            probes: 1,
            successes: 3,
        }
    }
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They pass.
    Closed,
    /// They are refused.
    Open,
    /// A few pass, to see.
    HalfOpen,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: u32, successes: u32 },
}

impl Machine {
    /// A closed machine.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Closed { failures: 0 },
        }
    }

    /// The state that it is in.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether a call would be let through at `now`.
    pub fn would_enter(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { until } => now >= *until,
            Phase::HalfOpen { probing, .. } => *probing < self.settings.probes,
        }
    }

    /// Lets a call through, or says how long to wait.
    ///
    /// # Errors
    /// The time after which to ask again.
    pub fn enter(&mut self, now: Instant) -> Result<(), Duration> {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(until - now);
            }
            self.phase = Phase::HalfOpen {
                probing: 0,
                successes: 0,
            };
        }
        match &mut self.phase {
            Phase::HalfOpen { probing, .. } if *probing >= self.settings.probes => {
                Err(self.settings.recovery / 10)
            }
            Phase::HalfOpen { probing, .. } => {
                *probing += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A call succeeded.
    pub fn succeeded(&mut self) {
        match &mut self.phase {
            Phase::Closed { failures } => *failures = 0,
            Phase::Open { .. } => {}
            Phase::HalfOpen { probing, successes } => {
                *probing = probing.saturating_sub(1);
                *successes += 1;
                if *successes >= self.settings.successes {
                    self.phase = Phase::Closed { failures: 0 };
                }
            }
        }
    }

    /// A call failed. `jitter`, from 0 to 1, is the chance that spreads the recovery.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        let opens = match &mut self.phase {
            Phase::Closed { failures } => {
                *failures += 1;
                *failures >= self.settings.failures
            }
            Phase::Open { .. } => false,
            Phase::HalfOpen { .. } => true,
        };
        if opens {
            let until = now
                + self
                    .settings
                    .recovery
                    .mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
            self.phase = Phase::Open { until };
        }
    }

    /// A call was given up before it ended.
    pub fn abandoned(&mut self) {
        if let Phase::HalfOpen { probing, .. } = &mut self.phase {
            *probing = probing.saturating_sub(1);
        }
    }
}
