//! The forms that several settings have.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

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
