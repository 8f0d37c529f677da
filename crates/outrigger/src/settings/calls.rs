//! `[calls]`: how services and the gateway call others, as the caller sees it.
//!
//! `[calls.defaults]` holds for every callee, `[calls.user-service]` for one, and
//! `[calls.user-service.routes."GET /users/{id}"]` for one of its calls; what the narrower one leaves open is as the wider
//! one says. Each policy is a table, or `true` or `false`.

mod policy;

use std::collections::BTreeMap;

use discovery::{Policies, balance};
use env::config::Time;
use serde::{Deserialize, Serialize};

pub use policy::{
    AdaptiveLimit, Breaker, Bulkhead, FailureRate, Health, Hedge, Outlier, Retry, RetryBudget,
    SlowCalls,
};

use super::values::{Section, Switch, set};

/// The name under which stands what holds for every callee.
const DEFAULTS: &str = "defaults";

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Callee>")]
pub struct Calls(BTreeMap<String, Callee>);

/// How one service is called, or all of them. What is left open is as the defaults say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callee {
    /// How long a call may take whose caller set no deadline. Default `5s`.
    pub deadline: Option<Time>,
    /// How long it may take to connect to an instance, before another one is tried. Default `2s`.
    pub connect_timeout: Option<Time>,
    /// How long a call waits for the registry to say for the first time which instances there are. Default `2s`.
    pub registry_timeout: Option<Time>,
    /// Which instance takes a call. Default `peak-ewma`.
    pub strategy: Option<Strategy>,
    /// A new instance, or one that was left out, gets its full share after this time; `false` for at once. Default `10s`.
    pub warm_up: Option<WarmUp>,
    /// How calls are made again that may be: by their method, or for their `Idempotency-Key`. Default: 2 attempts.
    pub retry: Option<Switch<Retry>>,
    /// What all attempts beyond the first, and all second requests, may cost together.
    pub retry_budget: Option<RetryBudget>,
    /// When an instance is left alone that fails.
    pub breaker: Option<Switch<Breaker>>,
    /// When the service as a whole is left alone, however many instances there are to try.
    pub service_breaker: Option<Switch<Breaker>>,
    /// When an instance is left out that fails more than the others.
    pub outlier: Option<Switch<Outlier>>,
    /// Asking instances for their health. Default: they are not asked.
    pub health: Option<Switch<Health>>,
    /// So many calls at once. Default: any number.
    pub bulkhead: Option<Switch<Bulkhead>>,
    /// As many requests at once as are answered without a queue. Default: any number.
    pub adaptive_limit: Option<Switch<AdaptiveLimit>>,
    /// A second request where an answer takes long. Default: never.
    pub hedge: Option<Switch<Hedge>>,
    /// What holds for one call in place of that, by method and path: `GET /users/{id}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, Route>,
}

/// How one call is made. What is left open is as for the service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// How long the call may take whose caller set no deadline.
    pub deadline: Option<Time>,
    /// How it is made again.
    pub retry: Option<Switch<Retry>>,
    /// Whether the breakers, of the service and of its instances, count and refuse the call.
    pub breaker: Option<bool>,
    /// So many at once, beside those of other calls.
    pub bulkhead: Option<Switch<Bulkhead>>,
    /// As many at once as are answered without a queue, beside those of other calls.
    pub adaptive_limit: Option<Switch<AdaptiveLimit>>,
    /// A second request where an answer takes long.
    pub hedge: Option<Switch<Hedge>>,
}

/// Which instance takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Of two by chance, the one whose requests take less.
    PeakEwma,
    /// The one with the fewest requests in flight, for its weight.
    LeastConnections,
    /// One after the other.
    RoundRobin,
    /// By chance.
    Random,
    /// By chance, in proportion to the weights.
    Weighted,
    /// By the key of the request.
    ConsistentHash,
}

/// How long an instance warms up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "it is a time such as `10s`, or `false`")]
pub enum WarmUp {
    /// So long; at most a day.
    For(Time),
    /// `false`: not at all.
    Off(bool),
}

impl Calls {
    /// How calls are made by these settings.
    pub fn policies(&self) -> Policies {
        let mut settings = discovery::Settings::default();
        if let Some(defaults) = self.0.get(DEFAULTS) {
            defaults.apply(&mut settings);
        }
        let own = self.callees().map(|(name, callee)| {
            let mut own = settings.clone();
            callee.apply(&mut own);
            (name.to_owned(), own)
        });
        let services = own.collect();
        Policies { settings, services }
    }

    /// The services that it says something about.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.callees().map(|(name, _)| name)
    }

    fn callees(&self) -> impl Iterator<Item = (&str, &Callee)> {
        let named = self.0.iter().map(|(name, callee)| (name.as_str(), callee));
        named.filter(|(name, _)| *name != DEFAULTS)
    }
}

impl TryFrom<BTreeMap<String, Callee>> for Calls {
    type Error = String;

    fn try_from(callees: BTreeMap<String, Callee>) -> Result<Self, String> {
        for (name, callee) in &callees {
            if name == DEFAULTS && !callee.routes.is_empty() {
                return Err(
                    "a route is one of a service: write it below `calls.NAME.routes`".to_owned(),
                );
            }
            for call in callee.routes.keys() {
                is_call(call)?;
            }
        }
        Ok(Self(callees))
    }
}

fn is_call(call: &str) -> Result<(), String> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    match call.split_once(' ') {
        Some((method, path)) if known.contains(&method) && path.starts_with('/') => Ok(()),
        _ => Err(format!(
            "`{call}` is no call: write its method and the template of its path, as in \"GET /users/{{id}}\""
        )),
    }
}

impl Section for Callee {
    type Of = discovery::Settings;

    fn apply(&self, of: &mut discovery::Settings) {
        let builtin = discovery::Settings::default();
        set(&mut of.policy.deadline, self.deadline);
        set(&mut of.connect, self.connect_timeout);
        set(&mut of.first_word, self.registry_timeout);
        set(&mut of.strategy, self.strategy);
        match self.warm_up {
            Some(WarmUp::For(time)) => of.warm_up = time.into(),
            Some(WarmUp::Off(on)) => {
                of.warm_up = if on {
                    builtin.warm_up
                } else {
                    Default::default()
                }
            }
            None => {}
        }
        if let Some(budget) = &self.retry_budget {
            budget.apply(&mut of.budget);
        }
        match &self.breaker {
            Some(Switch::Plain(on)) => of.policy.breaker = *on,
            Some(Switch::On(breaker)) => {
                of.policy.breaker = true;
                breaker.apply(&mut of.breaker);
            }
            None => {}
        }
        if let Some(breaker) = &self.service_breaker {
            let default = || builtin.service_breaker.clone().unwrap_or_default();
            breaker.apply(&mut of.service_breaker, default);
        }
        if let Some(outlier) = &self.outlier {
            outlier.apply(&mut of.outlier, Default::default);
        }
        if let Some(health) = &self.health {
            health.apply(&mut of.health, Default::default);
        }
        let common = Route {
            deadline: self.deadline,
            retry: self.retry,
            breaker: None,
            bulkhead: self.bulkhead,
            adaptive_limit: self.adaptive_limit,
            hedge: self.hedge,
        };
        common.apply(&mut of.policy);
        // Those of the defaults have no routes, so none is to be changed here.
        for (call, route) in &self.routes {
            let mut policy = of.policy.clone();
            route.apply(&mut policy);
            of.calls.insert(call.clone(), policy);
        }
    }
}

impl Section for Route {
    type Of = discovery::Policy;

    fn apply(&self, of: &mut discovery::Policy) {
        set(&mut of.deadline, self.deadline);
        set(&mut of.breaker, self.breaker);
        if let Some(retry) = &self.retry {
            let default = || discovery::Policy::default().retry.unwrap_or_default();
            retry.apply(&mut of.retry, default);
        }
        if let Some(bulkhead) = &self.bulkhead {
            bulkhead.apply(&mut of.bulkhead, Default::default);
        }
        if let Some(limit) = &self.adaptive_limit {
            limit.apply(&mut of.adaptive, Default::default);
        }
        if let Some(hedge) = &self.hedge {
            hedge.apply(&mut of.hedge, Default::default);
        }
    }
}

impl From<Strategy> for balance::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::PeakEwma => Self::PeakEwma,
            Strategy::LeastConnections => Self::LeastConnections,
            Strategy::RoundRobin => Self::RoundRobin,
            Strategy::Random => Self::Random,
            Strategy::Weighted => Self::Weighted,
            Strategy::ConsistentHash => Self::ConsistentHash,
        }
    }
}
