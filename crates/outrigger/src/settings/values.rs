//! The kinds of values that several settings have, as types that cannot hold a wrong one.

use std::{fmt, marker::PhantomData, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A length of time, more than nothing and at most a day: `250ms`, `5s`, `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub(super) Duration);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        friendly::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let time = friendly::deserialize(deserializer)?;
        if time.is_zero() || time > DAY {
            return Err(D::Error::custom("it is more than 0s, and at most 24h"));
        }
        Ok(Self(time))
    }
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share(pub(super) f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match f64::deserialize(deserializer)? {
            share if (0.0..=1.0).contains(&share) => Ok(Self(share)),
            _ => Err(D::Error::custom("it is a share from 0 to 1, such as 0.2")),
        }
    }
}

/// Something that can be turned off: `false`, `true` for what it is by default, or a table of what differs from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Switch<T> {
    /// `true` and `false`.
    Plain(bool),
    /// On, with these values.
    On(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false` or a table of settings")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
                Ok(Switch::Plain(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// A table of settings, each of which may be left open.
pub(super) trait Section {
    /// What it is about.
    type Of;

    /// Sets in `of` what is not left open.
    fn apply(&self, of: &mut Self::Of);
}

impl<T> Switch<T> {
    /// Turns `of` on or off, with `default` where it was off, and what is not left open.
    pub(super) fn apply(&self, of: &mut Option<T::Of>, default: impl FnOnce() -> T::Of)
    where
        T: Section,
    {
        match self {
            Self::Plain(false) => *of = None,
            Self::Plain(true) => *of = Some(of.take().unwrap_or_else(default)),
            Self::On(section) => section.apply(of.get_or_insert_with(default)),
        }
    }
}

/// Sets `target` to a value that is not left open.
pub(super) fn set<T>(target: &mut T, value: Option<impl Into<T>>) {
    if let Some(value) = value {
        *target = value.into();
    }
}

impl From<Time> for Duration {
    fn from(Time(time): Time) -> Self {
        time
    }
}

impl From<Share> for f64 {
    fn from(Share(share): Share) -> Self {
        share
    }
}
