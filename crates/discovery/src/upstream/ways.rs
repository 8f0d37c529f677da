//! The ways to a service, for the policies that hold now: one for most calls, and one for each call that has a policy of
//! its own.
//!
//! When the policies change, the ways are made anew with the next call. What was learned of the instances stays, also how
//! many requests are under way; bulkheads, limits and budgets begin afresh, but only where the settings of the service did
//! change.

use std::{sync::Arc, time::Duration};

use http::Method;
use resilience::{
    Breaker,
    breaker::State,
    observe::{Decision, Observer},
    retry::Budget,
};
use tokio::sync::watch;

use super::{
    attempt::Attempt,
    members::{Members, kept, reporter},
    probing, protected,
    settings::{Policy, Settings},
    stack::{self, Stack},
};
use crate::{HttpClient, Policies, http_client_within};

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Ways {
    /// The policies, as they were seen last.
    seen: watch::Receiver<Arc<Policies>>,
    settings: Settings,
    pub(super) shared: Arc<Shared>,
    most: Way,
    some: Arc<[(Method, String, Way)]>,
}

#[derive(Clone)]
pub(super) struct Way {
    pub(super) policy: Policy,
    pub(super) stack: Stack,
}

/// What all ways share.
pub(super) struct Shared {
    pub(super) service: Arc<str>,
    pub(super) members: Members,
    pub(super) http: HttpClient,
    /// That of the service as a whole.
    pub(super) breaker: Option<Breaker>,
    pub(super) first_word: Duration,
}

impl Shared {
    pub(super) fn name(&self) -> String {
        self.service.to_string()
    }
}

impl Ways {
    pub(super) fn new(
        seen: watch::Receiver<Arc<Policies>>,
        settings: Settings,
        shared: Arc<Shared>,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Self {
        if let Some(health) = settings.health {
            tokio::spawn(probing::run(Arc::downgrade(&shared), health));
        }
        let budget = Budget::new(settings.budget);
        let way = |policy: &Policy, name: &str| {
            let attempt = Attempt {
                shared: Arc::clone(&shared),
                breaker: policy.breaker,
            };
            let stack = stack::stack(attempt, policy, &budget, &reporter(name, observer));
            Way {
                policy: policy.clone(),
                stack,
            }
        };
        let own = |(call, policy): (&String, &Policy)| {
            let (method, path) = call.split_once(' ')?;
            let way = way(policy, &protected::call(&shared.service, call));
            Some((method.parse().ok()?, path.trim().to_owned(), way))
        };
        let some = settings.calls.iter().filter_map(own).collect();
        let most = way(&settings.policy, &shared.service);
        Self {
            seen,
            settings,
            shared,
            most,
            some,
        }
    }

    /// Whether the policies were changed.
    pub(super) fn is_outdated(&self) -> bool {
        // Who changed them and is gone changes them no more.
        self.seen.has_changed().unwrap_or(false)
    }

    /// The ways by the policies of now.
    pub(super) fn renewed(&self, service: &str, observer: Option<&Arc<dyn Observer>>) -> Self {
        let mut seen = self.seen.clone();
        let settings = seen.borrow_and_update().of(service).clone();
        if settings == self.settings {
            return Self {
                seen,
                ..self.clone()
            };
        }
        let shared = Shared {
            service: Arc::clone(&self.shared.service),
            members: self.shared.members.under(settings.clone()),
            http: match settings.connect == self.settings.connect {
                true => self.shared.http.clone(),
                false => http_client_within(settings.connect),
            },
            breaker: self.breaker_under(&settings, observer),
            first_word: settings.first_word,
        };
        Self::new(seen, settings, Arc::new(shared), observer)
    }

    fn breaker_under(
        &self,
        settings: &Settings,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Option<Breaker> {
        let reporter = reporter(&self.shared.service, observer);
        let before = self
            .shared
            .breaker
            .as_ref()
            .zip(self.settings.service_breaker.as_ref());
        match (before, &settings.service_breaker) {
            (Some((breaker, before)), Some(now)) => Some(kept(breaker, (before, now), reporter)),
            (None, Some(now)) => Some(Breaker::reporting(now.clone(), reporter)),
            (Some((breaker, _)), None) => {
                let (from, to) = (breaker.state(), State::Closed);
                if from != to {
                    reporter.report(Decision::BreakerChanged { from, to });
                }
                None
            }
            (None, None) => None,
        }
    }

    /// The way of a call to the path of `route`.
    pub(super) fn of(&self, method: &Method, route: Option<&str>) -> &Way {
        let own = |(of, path, _): &&(Method, String, Way)| of == method && Some(&**path) == route;
        match self.some.iter().find(own) {
            Some((_, _, way)) => way,
            None => &self.most,
        }
    }
}
