//! The policies of `[calls]`, one table each. A key that is left open is as it was.

use std::num::{NonZeroU32, NonZeroUsize};

use discovery::{health, outlier};
use env::config::{Share, Time};
use resilience::{adaptive, breaker, bulkhead, hedge, retry};
use serde::{Deserialize, Serialize};

use crate::settings::values::{Section, Switch, set};

/// How a call is made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// So many attempts at most, the first included. Default 2.
    pub attempts: Option<NonZeroU32>,
    /// The longest wait after the first attempt; each further one doubles it, and chance shortens it. Default `25ms`.
    pub backoff: Option<Time>,
    /// The longest wait after any. Default `1s`.
    pub backoff_limit: Option<Time>,
    /// The longest `Retry-After` that is waited for. Default `2s`.
    pub longest_wait: Option<Time>,
}

impl Section for Retry {
    type Of = retry::Settings;

    fn apply(&self, of: &mut retry::Settings) {
        set(&mut of.attempts, self.attempts);
        set(&mut of.backoff.base, self.backoff);
        set(&mut of.backoff.cap, self.backoff_limit);
        set(&mut of.longest_wait, self.longest_wait);
    }
}

/// What attempts beyond the first may cost all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// So large a share of the calls. Default 0.2.
    pub share: Option<Share>,
    /// So many a second, whatever the share. Default 10.
    pub least: Option<u32>,
    /// The time over which both are counted. Default `10s`.
    pub window: Option<Time>,
}

impl Section for RetryBudget {
    type Of = retry::budget::Settings;

    fn apply(&self, of: &mut retry::budget::Settings) {
        set(&mut of.share, self.share);
        set(&mut of.least, self.least);
        set(&mut of.window, self.window);
    }
}

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// So many failures in a row open it. Default 5; 20 for that of a service.
    pub failures: Option<NonZeroU32>,
    /// So large a share of failures opens it too.
    pub rate: Option<Switch<FailureRate>>,
    /// So large a share of slow calls opens it too. Default: none does.
    pub slow: Option<Switch<SlowCalls>>,
    /// How long it stays open at first; twice as long after each probe that fails. Default `1s`.
    pub recovery: Option<Time>,
    /// The longest that it stays open. Default `30s`; `5s` for that of a service.
    pub recovery_limit: Option<Time>,
    /// So many probes may be under way at once when it is half open. Default 1.
    pub probes: Option<NonZeroU32>,
    /// So many successes in a row close it again. Default 3.
    pub successes: Option<NonZeroU32>,
}

impl Section for Breaker {
    type Of = breaker::Settings;

    fn apply(&self, of: &mut breaker::Settings) {
        set(&mut of.failures, self.failures);
        if let Some(rate) = &self.rate {
            rate.apply(&mut of.rate, Default::default);
        }
        if let Some(slow) = &self.slow {
            slow.apply(&mut of.slow, Default::default);
        }
        set(&mut of.recovery, self.recovery);
        set(&mut of.recovery_limit, self.recovery_limit);
        set(&mut of.probes, self.probes);
        set(&mut of.successes, self.successes);
    }
}

/// A share of failures over the latest time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FailureRate {
    /// The share. Default 0.5; 0.8 for the breaker of a service.
    pub failures: Option<Share>,
    /// Of the calls that ended in this time. Default `10s`.
    pub window: Option<Time>,
    /// If they are at least so many. Default 20; 50 for the breaker of a service.
    pub calls: Option<NonZeroU32>,
}

impl Section for FailureRate {
    type Of = breaker::Rate;

    fn apply(&self, of: &mut breaker::Rate) {
        set(&mut of.failures, self.failures);
        set(&mut of.window, self.window);
        set(&mut of.calls, self.calls);
    }
}

/// A share of slow calls over the latest time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlowCalls {
    /// A call that takes so long is slow. Default `1s`.
    pub threshold: Option<Time>,
    /// The share. Default 0.8.
    pub share: Option<Share>,
    /// Of the calls that succeeded in this time. Default `10s`.
    pub window: Option<Time>,
    /// If they are at least so many. Default 20.
    pub calls: Option<NonZeroU32>,
}

impl Section for SlowCalls {
    type Of = breaker::Slow;

    fn apply(&self, of: &mut breaker::Slow) {
        set(&mut of.threshold, self.threshold);
        set(&mut of.share, self.share);
        set(&mut of.window, self.window);
        set(&mut of.calls, self.calls);
    }
}

/// When an instance is left out that fails more than the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outlier {
    /// So many failures in a row leave it out. Default 5.
    pub consecutive: Option<NonZeroU32>,
    /// So much more of its calls fail than of those to the others. Default 0.3.
    pub margin: Option<Share>,
    /// But only if it and the others were called so often each in the interval. Default 20.
    pub calls: Option<NonZeroU32>,
    /// How often failures are compared. Default `10s`.
    pub interval: Option<Time>,
    /// How long it is left out the first time; each further time as much longer. Default `15s`.
    pub base: Option<Time>,
    /// But no longer than this. Default `5m`.
    pub longest: Option<Time>,
    /// The largest share of the instances that is left out at once. Default 0.5.
    pub most: Option<Share>,
    /// Where a smaller share than this is well, nobody is left out. Default 0.3.
    pub panic: Option<Share>,
}

impl Section for Outlier {
    type Of = outlier::Settings;

    fn apply(&self, of: &mut outlier::Settings) {
        set(&mut of.consecutive, self.consecutive);
        set(&mut of.margin, self.margin);
        set(&mut of.calls, self.calls);
        set(&mut of.interval, self.interval);
        set(&mut of.base, self.base);
        set(&mut of.longest, self.longest);
        set(&mut of.most, self.most);
        set(&mut of.panic, self.panic);
    }
}

/// Asking instances for their health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// How often each is asked. Default `5s`.
    pub every: Option<Time>,
    /// How long it may take to answer. Default `1s`.
    pub timeout: Option<Time>,
    /// So many bad answers in a row take it out. Default 3.
    pub unhealthy: Option<NonZeroU32>,
    /// So many good ones bring it back. Default 2.
    pub healthy: Option<NonZeroU32>,
}

impl Section for Health {
    type Of = health::Settings;

    fn apply(&self, of: &mut health::Settings) {
        set(&mut of.every, self.every);
        set(&mut of.timeout, self.timeout);
        set(&mut of.unhealthy, self.unhealthy);
        set(&mut of.healthy, self.healthy);
    }
}

/// So many calls at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulkhead {
    /// So many. Default 64.
    pub concurrent: Option<NonZeroUsize>,
    /// So many may wait for a place. Default 64.
    pub waiting: Option<usize>,
    /// None waits for longer. Default `100ms`.
    pub patience: Option<Time>,
}

impl Section for Bulkhead {
    type Of = bulkhead::Settings;

    fn apply(&self, of: &mut bulkhead::Settings) {
        set(&mut of.concurrent, self.concurrent);
        set(&mut of.waiting, self.waiting);
        set(&mut of.patience, self.patience);
    }
}

/// As many at once as are answered without a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveLimit {
    /// The first limit. Default 20.
    pub initial: Option<NonZeroU32>,
    /// It is never less. Default 4.
    pub least: Option<NonZeroU32>,
    /// It is never more. Default 1000.
    pub most: Option<NonZeroU32>,
}

impl Section for AdaptiveLimit {
    type Of = adaptive::Settings;

    fn apply(&self, of: &mut adaptive::Settings) {
        set(&mut of.initial, self.initial);
        set(&mut of.least, self.least);
        set(&mut of.most, self.most);
    }
}

/// When a second request is sent: after a time, or after the time in which a share of the latest calls was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HedgeTable")]
pub struct Hedge {
    /// After this time, whatever the latest calls took.
    pub after: Option<Time>,
    /// The share. Default 0.95.
    pub share: Option<Share>,
    /// But never sooner than this. Default `5ms`.
    pub least: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HedgeTable {
    after: Option<Time>,
    share: Option<Share>,
    least: Option<Time>,
}

impl TryFrom<HedgeTable> for Hedge {
    type Error = &'static str;

    fn try_from(table: HedgeTable) -> Result<Self, Self::Error> {
        let HedgeTable {
            after,
            share,
            least,
        } = table;
        if after.is_some() && (share.is_some() || least.is_some()) {
            return Err("a second request is sent `after` a time, or by `share` and `least`");
        }
        Ok(Self {
            after,
            share,
            least,
        })
    }
}

impl Section for Hedge {
    type Of = hedge::Delay;

    fn apply(&self, of: &mut hedge::Delay) {
        if let Some(after) = self.after {
            *of = hedge::Delay::Fixed(after.into());
            return;
        }
        if self.share.is_some() || self.least.is_some() {
            if let hedge::Delay::Fixed(_) = of {
                *of = hedge::Delay::default();
            }
            if let hedge::Delay::Share { share, least } = of {
                set(share, self.share);
                set(least, self.least);
            }
        }
    }
}
