//! Admission to a server: as many requests of one kind as it answers in good time, and of those the ones that matter (G9).
//!
//! A [`Gate`] is an [adaptive limit](crate::adaptive) whose room is given out by [priority](crate::shed). One stands before
//! each kind of request, for what those take alone differs: a limit over all of them would take many slow ones among quick
//! ones for a queue. What is refused costs next to nothing, and is told when to come again.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    adaptive::{self, Ended, Limiter},
    shed::{Capacity, Overloaded, Place, Priority, RETRY_AFTER, Shares, Shedder},
};

/// How much a gate lets in, as a table of settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether anything is refused. Default true.
    pub enabled: bool,
    /// The first limit of requests under way at once. Default 64.
    pub initial: NonZeroU32,
    /// It is never less. Default 4.
    pub least: NonZeroU32,
    /// It is never more. Default 1000.
    pub most: NonZeroU32,
    /// So many times longer than alone a request may take before the limit shrinks, from 1 to 100. Default 2.
    #[serde(deserialize_with = "times")]
    pub tolerance: f64,
    /// A request that takes less alone is taken for one that takes so long. Default `50ms`.
    #[serde(with = "env::config::time")]
    pub unhurried: Duration,
    /// The share of the limit up to which requests of low priority are taken. Default 0.6.
    #[serde(deserialize_with = "env::config::share")]
    pub low: f64,
    /// And those of normal priority; critical ones are taken up to all of it. Default 0.9.
    #[serde(deserialize_with = "env::config::share")]
    pub normal: f64,
}

const fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("more than none")
}

fn times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match f64::deserialize(deserializer)? {
        times if (1.0..=100.0).contains(&times) => Ok(times),
        _ => Err(D::Error::custom("it is from 1 to 100")),
    }
}

impl Default for Settings {
    fn default() -> Self {
        let Shares { low, normal } = Shares::default();
        Self {
            enabled: true,
            initial: const { count(64) },
            least: const { count(4) },
            most: const { count(1_000) },
            tolerance: 2.0,
            unhurried: Duration::from_millis(50),
            low,
            normal,
        }
    }
}

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    limiter: Limiter,
    shedder: Shedder,
}

impl Gate {
    /// A gate through which nothing has come yet; none where gates are off.
    pub fn of(settings: Settings) -> Option<Self> {
        let limiter = Limiter::new(adaptive::Settings {
            initial: settings.initial.get(),
            least: settings.least.get(),
            most: settings.most.get(),
            tolerance: settings.tolerance,
            unhurried: settings.unhurried,
            ..adaptive::Settings::default()
        });
        let shares = Shares {
            low: settings.low,
            normal: settings.normal,
        };
        let shedder = Shedder::new(Capacity::Of(limiter.clone()), shares);
        settings.enabled.then_some(Self { limiter, shedder })
    }

    /// Lets a request in. The admission should be told how it ended.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn enter(&self, priority: Priority) -> Result<Admitted, Overloaded> {
        let place = self.shedder.enter(priority)?;
        // The limit may have become less since.
        let permit = self.limiter.enter().map_err(|_| Overloaded {
            priority,
            retry_after: RETRY_AFTER,
        })?;
        Ok(Admitted {
            _place: place,
            permit,
        })
    }

    /// So many requests may be under way now.
    pub fn limit(&self) -> u32 {
        self.limiter.limit()
    }
}

/// A request that was let in, until it is dropped.
#[must_use = "the request is under way until it is dropped"]
pub struct Admitted {
    _place: Place,
    permit: adaptive::Permit,
}

impl Admitted {
    /// The request ended so.
    pub fn ended(self, how: Ended) {
        self.permit.ended(how);
    }
}
