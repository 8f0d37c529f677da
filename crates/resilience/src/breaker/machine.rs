//! The rules of a circuit breaker, as plain functions of the time that they are given.
//!
//! Whatever the order of events: half open, no more than the permitted probes are under way, and only they decide;
//! how a call ended that was let through in an earlier phase says nothing of this one. Open, nothing passes before
//! the recovery time is over.

use std::time::Duration;

use env::Instant;

use super::window::Window;

/// When a breaker opens and closes. A count of 0 is taken as 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// So many failures in a row open it. Default 5.
    pub failures: u32,
    /// So large a share of failures opens it too. Default: see [`Rate`].
    pub rate: Option<Rate>,
    /// So large a share of slow successes opens it too; half open, one does. Default: none does, and no call is timed.
    pub slow: Option<Slow>,
    /// How long it stays open at first; twice as long after each probe that fails, up to
    /// [`recovery_limit`](Self::recovery_limit). Up to a fifth is added by chance, so that callers do not come back all at
    /// once. Default 1 s.
    pub recovery: Duration,
    /// The longest that it stays open, without what chance adds. Default 30 s.
    pub recovery_limit: Duration,
    /// So many probes may be under way at once when it is half open. Default 1.
    pub probes: u32,
    /// So many successes in a row close it again. Default 3.
    pub successes: u32,
}

/// A share of failures over the latest time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The share, from 0 to 1. Default 0.5.
    pub failures: f64,
    /// Of the calls that ended in this time. Default 10 s.
    pub window: Duration,
    /// If they are at least so many. Default 20.
    pub calls: u32,
}

/// A share of slow calls, among those that succeed, over the latest time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    /// A call that takes so long is slow. Default 1 s.
    pub threshold: Duration,
    /// The share, from 0 to 1. Default 0.8.
    pub share: f64,
    /// Of the calls that succeeded in this time. Default 10 s.
    pub window: Duration,
    /// If they are at least so many. Default 20.
    pub calls: u32,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            threshold: Duration::from_secs(1),
            share: 0.8,
            window: Duration::from_secs(10),
            calls: 20,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            rate: Some(Rate::default()),
            slow: None,
            recovery: Duration::from_secs(1),
            recovery_limit: Duration::from_secs(30),
            probes: 1,
            successes: 3,
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            failures: 0.5,
            window: Duration::from_secs(10),
            calls: 20,
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

/// The phase in which a call was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// See the [module](self).
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    phase: Phase,
    /// Counts the phases, so that what was let through in an earlier one is told apart.
    ticket: Ticket,
    /// How often it has opened since it was last closed.
    openings: u32,
    window: Option<Window>,
    slow: Option<Window>,
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
            window: settings.rate.map(|rate| Window::new(rate.window)),
            slow: settings.slow.map(|slow| Window::new(slow.window)),
            settings,
            phase: Phase::Closed { failures: 0 },
            ticket: Ticket(0),
            openings: 0,
        }
    }

    /// The state that it is in. One that is open stays so until a call enters after the recovery.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// What a call holds that is let through in this phase.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// How long a call has to wait at `now`; zero if it would be let through.
    pub fn wait(&self, now: Instant) -> Duration {
        match &self.phase {
            Phase::Closed { .. } => Duration::ZERO,
            Phase::Open { until } => until.saturating_duration_since(now),
            Phase::HalfOpen { probing, .. } if *probing < self.settings.probes.max(1) => {
                Duration::ZERO
            }
            // When the probes end is not known. Soon, compared to the recovery.
            Phase::HalfOpen { .. } => (self.settings.recovery / 10).max(Duration::from_millis(1)),
        }
    }

    /// From when a call would be let through; `None` while that depends on the probes under way.
    pub fn opens(&self, now: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Closed { .. } => Some(now),
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen { probing, .. } => {
                (*probing < self.settings.probes.max(1)).then_some(now)
            }
        }
    }

    /// Lets a call through, or says how long to wait.
    ///
    /// # Errors
    /// The time after which to ask again.
    pub fn enter(&mut self, now: Instant) -> Result<Ticket, Duration> {
        let wait = self.wait(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        if let Phase::Open { .. } = self.phase {
            self.change(Phase::HalfOpen {
                probing: 0,
                successes: 0,
            });
        }
        if let Phase::HalfOpen { probing, .. } = &mut self.phase {
            *probing += 1;
        }
        Ok(self.ticket)
    }

    /// The call of `ticket` succeeded.
    pub fn succeeded(&mut self, ticket: Ticket, now: Instant) {
        if ticket != self.ticket {
            return;
        }
        match &mut self.phase {
            Phase::Closed { failures } => {
                *failures = 0;
                if let Some(window) = &mut self.window {
                    window.record(now, false);
                }
                if let Some(slow) = &mut self.slow {
                    slow.record(now, false);
                }
            }
            Phase::Open { .. } => {}
            Phase::HalfOpen { probing, successes } => {
                *probing = probing.saturating_sub(1);
                *successes += 1;
                if *successes >= self.settings.successes {
                    self.openings = 0;
                    self.change(Phase::Closed { failures: 0 });
                }
            }
        }
    }

    /// The call of `ticket` failed. `jitter`, from 0 to 1, is the chance that spreads the recovery.
    pub fn failed(&mut self, ticket: Ticket, now: Instant, jitter: f64) {
        if ticket != self.ticket {
            return;
        }
        let opens = match &mut self.phase {
            Phase::Closed { failures } => {
                *failures += 1;
                *failures >= self.settings.failures || self.too_many_failed(now)
            }
            Phase::Open { .. } => false,
            Phase::HalfOpen { .. } => true,
        };
        if opens {
            self.open(now, jitter);
        }
    }

    /// The call of `ticket` succeeded, and took longer than [`Slow::threshold`].
    pub fn slow(&mut self, ticket: Ticket, now: Instant, jitter: f64) {
        let (Some(limit), Some(slow)) = (self.settings.slow, &mut self.slow) else {
            return self.succeeded(ticket, now);
        };
        if ticket != self.ticket {
            return;
        }
        let opens = match &mut self.phase {
            Phase::Closed { failures } => {
                *failures = 0;
                if let Some(window) = &mut self.window {
                    window.record(now, false);
                }
                slow.record(now, true);
                let (calls, slow) = slow.totals(now);
                calls >= u64::from(limit.calls) && slow as f64 >= limit.share * calls as f64
            }
            Phase::Open { .. } => false,
            Phase::HalfOpen { .. } => true,
        };
        if opens {
            self.open(now, jitter);
        }
    }

    /// So many calls of this phase succeeded before `now`, which nobody has said yet.
    pub fn succeeded_before(&mut self, calls: u32, now: Instant) {
        if let (Phase::Closed { .. }, Some(window), 1..) = (&self.phase, &mut self.window, calls) {
            window.record_many(now, calls);
        }
    }

    /// Whether it makes a difference how many calls succeed while it is closed.
    pub fn counts_successes(&self) -> bool {
        self.window.is_some()
    }

    /// Whether the last call that ended has failed, closed.
    pub fn is_failing(&self) -> bool {
        matches!(self.phase, Phase::Closed { failures: 1.. })
    }

    /// How long a call may take that is not slow, if that makes a difference.
    pub fn slow_threshold(&self) -> Option<Duration> {
        self.settings.slow.map(|slow| slow.threshold)
    }

    /// The call of `ticket` was given up before it ended.
    pub fn abandoned(&mut self, ticket: Ticket) {
        if ticket == self.ticket
            && let Phase::HalfOpen { probing, .. } = &mut self.phase
        {
            *probing = probing.saturating_sub(1);
        }
    }

    /// Counts a failure; whether there are too many among the latest calls.
    fn too_many_failed(&mut self, now: Instant) -> bool {
        let (Some(rate), Some(window)) = (self.settings.rate, &mut self.window) else {
            return false;
        };
        window.record(now, true);
        let (calls, failures) = window.totals(now);
        calls >= u64::from(rate.calls) && failures as f64 >= rate.failures * calls as f64
    }

    fn open(&mut self, now: Instant, jitter: f64) {
        let doublings = self.openings.min(31);
        self.openings = self.openings.saturating_add(1);
        let recovery = self.settings.recovery.saturating_mul(1 << doublings);
        let recovery = recovery.min(self.settings.recovery_limit.max(self.settings.recovery));
        let spread = 1.0 + 0.2 * jitter.clamp(0.0, 1.0);
        self.change(Phase::Open {
            until: now + recovery.mul_f64(spread),
        });
    }

    fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.ticket.0 += 1;
        for window in [&mut self.window, &mut self.slow].into_iter().flatten() {
            window.clear();
        }
    }
}

impl Ticket {
    /// The ticket as a number, for who keeps it in an atomic.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The ticket of such a number.
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }
}
