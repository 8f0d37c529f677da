//! How calls to a service are made, and what may differ from call to call.

use std::{collections::BTreeMap, time::Duration};

use env::http::DEFAULT_CONNECT;
use resilience::{adaptive, breaker, bulkhead, hedge, retry};

use crate::{balance::Strategy, health, outlier};

/// How long a caller waits that set no deadline.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a call waits for the registry to say for the first time which instances there are.
pub const DEFAULT_FIRST_WORD: Duration = Duration::from_secs(2);
/// So many attempts are made of a call that may be repeated, the first included.
pub const DEFAULT_ATTEMPTS: u32 = 2;

/// How calls to a service are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which instance takes a call. Default: by peak EWMA, of two.
    pub strategy: Strategy,
    /// When an instance is left alone by itself.
    pub breaker: breaker::Settings,
    /// When the service as a whole is left alone, however many instances there are to try. `None` turns that off. Default:
    /// after 20 failures in a row, or where 80% of at least 50 calls in 10 s fail; it opens for 1 s at first, and 5 s at
    /// most.
    pub service_breaker: Option<breaker::Settings>,
    /// When an instance is left out by comparison; `None` turns that off.
    pub outlier: Option<outlier::Settings>,
    /// Asking instances for their health. Default: they are not asked.
    pub health: Option<health::Settings>,
    /// A new instance, or one that was left out, gets its full share after this time. Default 10 s; 0 turns it off.
    pub warm_up: Duration,
    /// Where the caller stands: instances in its zone come first. Default: nowhere.
    pub zone: Option<String>,
    /// How long it may take to connect to an instance, before another one is tried. Default 2 s.
    pub connect: Duration,
    /// How long a call waits for the registry to say for the first time which instances there are. Default 2 s.
    pub first_word: Duration,
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
            service_breaker: Some(of_service()),
            outlier: Some(outlier::Settings::default()),
            health: None,
            warm_up: Duration::from_secs(10),
            zone: None,
            connect: DEFAULT_CONNECT,
            first_word: DEFAULT_FIRST_WORD,
            budget: retry::budget::Settings::default(),
            policy: Policy::default(),
            calls: BTreeMap::new(),
        }
    }
}

/// Slower than that of an instance: it is for when all of them fail, and one that fails alone must not take the others
/// with it.
fn of_service() -> breaker::Settings {
    breaker::Settings {
        failures: 20,
        rate: Some(breaker::Rate {
            failures: 0.8,
            calls: 50,
            ..breaker::Rate::default()
        }),
        recovery_limit: Duration::from_secs(5),
        ..breaker::Settings::default()
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
    /// Whether the breakers, of the service and of its instances, count and refuse the call. Default: they do.
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
