//! How calls to a service are made, and what may differ from call to call.

use std::{collections::BTreeMap, time::Duration};

use resilience::{adaptive, breaker, bulkhead, hedge, retry};

use crate::{balance::Strategy, health, outlier};

/// How long a caller waits that set no deadline.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// So many attempts are made of a call that may be repeated, the first included.
pub const DEFAULT_ATTEMPTS: u32 = 2;

/// How calls to a service are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which instance takes a call. Default: by peak EWMA, of two.
    pub strategy: Strategy,
    /// When an instance is left alone by itself.
    pub breaker: breaker::Settings,
    /// When an instance is left out by comparison; `None` turns that off.
    pub outlier: Option<outlier::Settings>,
    /// Asking instances for their health. Default: they are not asked.
    pub health: Option<health::Settings>,
    /// A new instance, or one that was left out, gets its full share after this time. Default 10 s; 0 turns it off.
    pub warm_up: Duration,
    /// Where the caller stands: instances in its zone come first. Default: nowhere.
    pub zone: Option<String>,
    /// What all retries and second requests together may cost.
    pub budget: retry::budget::Settings,
    /// What holds for each call.
    pub policy: Policy,
    /// What holds for some calls in its place, by method and path: `GET /users/{id}`.
    pub calls: BTreeMap<String, Policy>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            breaker: breaker::Settings::default(),
            outlier: Some(outlier::Settings::default()),
            health: None,
            warm_up: Duration::from_secs(10),
            zone: None,
            budget: retry::budget::Settings::default(),
            policy: Policy::default(),
            calls: BTreeMap::new(),
        }
    }
}

/// What holds for one call. Each part can be turned off.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How long a call may take whose caller set no deadline. Default 5 s.
    pub deadline: Duration,
    /// How a call is made again. Default: twice in all; `None` turns it off.
    pub retry: Option<retry::Settings>,
    /// When a second request is sent beside the first. Default: never.
    pub hedge: Option<hedge::Delay>,
    /// So many calls at once. Default: any number.
    pub bulkhead: Option<bulkhead::Settings>,
    /// As many requests at once as are answered without a queue. Default: any number.
    pub adaptive: Option<adaptive::Settings>,
    /// Whether the breakers of the instances count, and refuse, the call. Default: they do.
    pub breaker: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            deadline: DEFAULT_DEADLINE,
            retry: Some(retry::Settings {
                attempts: DEFAULT_ATTEMPTS,
                ..retry::Settings::default()
            }),
            hedge: None,
            bulkhead: None,
            adaptive: None,
            breaker: true,
        }
    }
}
