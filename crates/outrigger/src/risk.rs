//! What the policies of calls and the declared dependencies together make possible, and should not: a lint, for `check`.
//!
//! Two risks can be read from a description before anything runs. Retries multiply from hop to hop: three attempts at each
//! of three hops make 27 requests of one. Their budgets bound what that costs all together, but not what a single request
//! may become. And a caller that waits for less time than the one it calls waits for others gives up before that one can
//! do anything about it: then its second attempts and its fallbacks are for nothing.

use std::{collections::BTreeSet, fmt, time::Duration};

use discovery::{Policies, Policy};

use crate::{Error, Settings, System, lifecycle::GATEWAY};

/// So many requests one may become at most.
pub const AMPLIFICATION_MOST: u64 = 10;

/// Something that may go wrong as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// One request may become too many, when calls fail.
    Amplification {
        /// Who calls whom, beginning with the gateway or with a service that nobody calls, and how many requests each may
        /// make of one. The first makes none.
        path: Vec<(String, u64)>,
        /// The requests that arrive at the end of it.
        requests: u64,
    },
    /// Less time is given to a call than the one that is called may wait for another.
    Impatience {
        /// What says how much time is given: a key of the settings or of `gateway.toml`.
        key: String,
        /// Whom it is given to.
        service: String,
        /// How much.
        gives: Duration,
        /// Whom that one waits for.
        callee: String,
        /// What says for how long.
        callee_key: String,
        /// How long.
        waits: Duration,
    },
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amplification { path, requests } => {
                for (index, (name, times)) in path.iter().enumerate() {
                    match index {
                        0 => write!(f, "{name}")?,
                        _ => write!(f, " -> {name} ({times} requests for one)")?,
                    }
                }
                write!(
                    f,
                    ": one request may become {requests}, {} more than the {AMPLIFICATION_MOST} that are allowed; lower \
                     `retry.attempts` of one of them, or turn `retry` or `hedge` off",
                    requests - AMPLIFICATION_MOST
                )
            }
            Self::Impatience {
                key,
                service,
                gives,
                callee,
                callee_key,
                waits,
            } => write!(
                f,
                "{service} has {gives:?} to answer (`{key}`) and may wait {waits:?} for {callee} (`{callee_key}`): {:?} more; \
                 raise the first or lower the second",
                *waits - *gives
            ),
        }
    }
}

impl System {
    /// What may go wrong in this system with these `settings`; empty is well.
    ///
    /// # Errors
    /// [`Error::Gateway`], and [`Error::UnknownCallee`].
    pub fn risks(&self, settings: &Settings) -> Result<Vec<Risk>, Error> {
        self.check_callees(settings)?;
        let lint = Lint {
            system: self,
            gateway: self.gateway_config()?,
            policies: settings.calls.policies(),
        };
        let mut found = BTreeSet::new();
        lint.amplification(&mut found);
        lint.impatience(&mut found);
        Ok(found.into_iter().collect())
    }
}

struct Lint<'a> {
    system: &'a System,
    gateway: Option<gateway::Config>,
    policies: Policies,
}

impl<'a> Lint<'a> {
    fn callees(&self, service: &str) -> &'a [String] {
        let mut services = self.system.services().iter();
        let found = services.find(|one| one.name() == service);
        found.map_or(&[], |one| &one.declared_boundary().depends_on)
    }

    /// The policies of calls to `service`, each with the key of its settings.
    fn policies(&self, service: &str) -> impl Iterator<Item = (String, &Policy)> {
        let settings = self.policies.of(service);
        let key = format!("calls.{service}");
        let some = settings.calls.iter().map({
            let key = key.clone();
            move |(call, policy)| (format!("{key}.routes.\"{call}\""), policy)
        });
        std::iter::once((key, &settings.policy)).chain(some)
    }

    fn amplification(&self, found: &mut BTreeSet<Risk>) {
        let called: BTreeSet<_> = self
            .system
            .services()
            .iter()
            .flat_map(|service| &service.declared_boundary().depends_on)
            .collect();
        for service in self.system.services() {
            let name = service.name().to_owned();
            if !called.contains(&name) {
                self.follow(&mut vec![(name, 1)], 1, found);
            }
        }
        let routes = self.gateway.iter().flat_map(|gateway| &gateway.routes);
        let entries: BTreeSet<_> = routes.map(|route| &route.service).collect();
        for service in entries {
            self.step(service, &mut vec![(GATEWAY.to_owned(), 1)], 1, found);
        }
    }

    /// Goes on from the end of `path`, where one request has become so many.
    fn follow(&self, path: &mut Vec<(String, u64)>, requests: u64, found: &mut BTreeSet<Risk>) {
        let Some((last, _)) = path.last() else {
            return;
        };
        for callee in self.callees(last) {
            self.step(callee, path, requests, found);
        }
    }

    fn step(
        &self,
        callee: &str,
        path: &mut Vec<(String, u64)>,
        requests: u64,
        found: &mut BTreeSet<Risk>,
    ) {
        // A circle is another rule's to find.
        if path.iter().any(|(name, _)| name == callee) {
            return;
        }
        let times = self.policies(callee).map(|(_, policy)| requests_of(policy));
        let times = times.max().unwrap_or(1);
        let requests = requests.saturating_mul(times);
        path.push((callee.to_owned(), times));
        if requests > AMPLIFICATION_MOST {
            let path = path.clone();
            found.insert(Risk::Amplification { path, requests });
        } else {
            self.follow(path, requests, found);
        }
        path.pop();
    }

    fn impatience(&self, found: &mut BTreeSet<Risk>) {
        for route in self.gateway.iter().flat_map(|gateway| &gateway.routes) {
            let limits = self.gateway.as_ref().map(|gateway| gateway.limits.timeout);
            let key = match route.timeout {
                Some(_) => format!("gateway.toml: timeout of the route {}", route.path),
                None => "gateway.toml: limits.timeout".to_owned(),
            };
            if let Some(gives) = route.timeout.or(limits) {
                self.compare(key, &route.service, gives, found);
            }
        }
        for service in self.system.services() {
            for (key, policy) in self.policies(service.name()) {
                let key = format!("{key}.deadline");
                self.compare(key, service.name(), policy.deadline, found);
            }
        }
    }

    /// Whether `service` has less time than it may wait for somebody.
    fn compare(&self, key: String, service: &str, gives: Duration, found: &mut BTreeSet<Risk>) {
        for callee in self.callees(service) {
            let longest = self
                .policies(callee)
                .max_by_key(|(_, policy)| policy.deadline);
            let Some((callee_key, policy)) = longest else {
                continue;
            };
            if gives < policy.deadline {
                found.insert(Risk::Impatience {
                    key: key.clone(),
                    service: service.to_owned(),
                    gives,
                    callee: callee.clone(),
                    callee_key: format!("{callee_key}.deadline"),
                    waits: policy.deadline,
                });
            }
        }
    }
}

/// How many requests a call may become.
fn requests_of(policy: &Policy) -> u64 {
    let attempts = policy.retry.map_or(1, |retry| retry.attempts.max(1));
    let each = 1 + u64::from(policy.hedge.is_some());
    u64::from(attempts) * each
}
