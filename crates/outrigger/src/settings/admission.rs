//! `[admission]`: how much an API takes on before it refuses.

use std::num::NonZeroU32;

use resilience::{adaptive, admission, shed::Shares};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::values::{Share, Time};

/// What the API of a service takes on, for each of its routes. Probes, figures and operators are never refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Whether requests are refused for having too much to do. Deadlines are kept either way. Default true.
    pub enabled: bool,
    /// The first limit of requests under way at once. Default 64.
    pub initial: NonZeroU32,
    /// It is never less. Default 16.
    pub least: NonZeroU32,
    /// It is never more. Default 1000.
    pub most: NonZeroU32,
    /// So many times longer than alone a request may take before the limit shrinks, from 1 to 100. Default 3.
    #[serde(deserialize_with = "times")]
    pub tolerance: f64,
    /// A request that takes less alone is taken for one that takes so long. Default `50ms`.
    pub unhurried: Time,
    /// The share of the limit up to which requests of low priority are taken. Default 0.6.
    pub low: Share,
    /// And those of normal priority; critical ones are taken up to all of it. Default 0.9.
    pub normal: Share,
}

fn times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match f64::deserialize(deserializer)? {
        times if (1.0..=100.0).contains(&times) => Ok(times),
        _ => Err(D::Error::custom("it is from 1 to 100")),
    }
}

impl Default for Admission {
    fn default() -> Self {
        let admission::Settings { limit, shares } = admission::Settings::default();
        let count = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self {
            enabled: true,
            initial: count(limit.initial),
            least: count(limit.least),
            most: count(limit.most),
            tolerance: limit.tolerance,
            unhurried: Time(limit.unhurried),
            low: Share(shares.low),
            normal: Share(shares.normal),
        }
    }
}

impl Admission {
    /// What the gates are told, unless they are off.
    pub(crate) fn gate(&self) -> Option<admission::Settings> {
        self.enabled.then(|| admission::Settings {
            limit: adaptive::Settings {
                initial: self.initial.get(),
                least: self.least.get(),
                most: self.most.get(),
                tolerance: self.tolerance,
                unhurried: self.unhurried.into(),
                ..admission::Settings::default().limit
            },
            shares: Shares {
                low: self.low.into(),
                normal: self.normal.into(),
            },
        })
    }
}
