//! `[admission]`: how much of a route is under way at once before the gateway refuses.

use std::{num::NonZeroU32, time::Duration};

use resilience::{adaptive, admission, shed::Shares};
use serde::{Deserialize, Deserializer, de::Error};

use super::units;

/// What is let in of each route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Admission {
    /// Whether requests are refused with 503 when there is too much to do. Default true.
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
    /// A request that takes less alone is taken for one that takes so long. Default 50 ms.
    #[serde(deserialize_with = "units::duration")]
    pub unhurried: Duration,
    /// The share of the limit up to which requests of low priority are taken. Default 0.6.
    #[serde(deserialize_with = "share")]
    pub low: f64,
    /// And those of normal priority; critical ones are taken up to all of it. Default 0.9.
    #[serde(deserialize_with = "share")]
    pub normal: f64,
}

fn times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match f64::deserialize(deserializer)? {
        times if (1.0..=100.0).contains(&times) => Ok(times),
        _ => Err(D::Error::custom("from 1 to 100")),
    }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match f64::deserialize(deserializer)? {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(D::Error::custom("a share from 0 to 1, such as 0.6")),
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
            unhurried: limit.unhurried,
            low: shares.low,
            normal: shares.normal,
        }
    }
}

impl Admission {
    /// What the gates are told, unless they are off.
    pub fn gate(&self) -> Option<admission::Settings> {
        self.enabled.then(|| admission::Settings {
            limit: adaptive::Settings {
                initial: self.initial.get(),
                least: self.least.get(),
                most: self.most.get(),
                tolerance: self.tolerance,
                unhurried: self.unhurried,
                ..admission::Settings::default().limit
            },
            shares: Shares {
                low: self.low,
                normal: self.normal,
            },
        })
    }
}
