//! The kinds of values that several settings have, as types that cannot hold a wrong one.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A length of time, more than nothing and at most a day: `250ms`, `5s`, `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "time")] Duration);

impl From<Time> for Duration {
    fn from(Time(time): Time) -> Self {
        time
    }
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(#[serde(deserialize_with = "share")] f64);

impl From<Share> for f64 {
    fn from(Share(share): Share) -> Self {
        share
    }
}

/// For a field that is a [`Duration`] and is written as a [`Time`]: `#[serde(with = "env::config::time")]`.
pub mod time {
    use super::{Deserializer, Duration, Error};

    pub use jiff::fmt::serde::unsigned_duration::friendly::compact::required::serialize;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Reads a length of time.
    ///
    /// # Errors
    /// If it is none, or not within its bounds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        use jiff::fmt::serde::unsigned_duration::friendly::compact::required::deserialize;
        let time = deserialize(deserializer)?;
        if time.is_zero() || time > DAY {
            return Err(D::Error::custom("it is more than 0s, and at most 24h"));
        }
        Ok(time)
    }
}

/// Reads a [`Share`] for a field that is a number.
///
/// # Errors
/// If it is none, or not within its bounds.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match f64::deserialize(deserializer)? {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(D::Error::custom("it is a share from 0 to 1, such as 0.2")),
    }
}
