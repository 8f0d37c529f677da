//! Sizes and lengths of time as people write them: `"1MiB"`, `"250ms"`.

use std::{fmt, str::FromStr, time::Duration};

use env::config::time;
use serde::{Deserialize, Deserializer};

const KIB: u64 = 1024;

/// A number of bytes, at least one: `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

impl Size {
    pub(super) const fn kib(count: u64) -> Self {
        Self(count * KIB)
    }

    pub(super) const fn mib(count: u64) -> Self {
        Self(count * KIB * KIB)
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "`{text}` is not a size; write a positive number and B, KiB, MiB or GiB, as in \"1MiB\""
            )
        };
        let (count, unit) = split(text);
        let factor = match unit {
            "B" => 1,
            "KiB" => KIB,
            "MiB" => KIB * KIB,
            "GiB" => KIB * KIB * KIB,
            _ => return Err(expected()),
        };
        let bytes = count.and_then(|count| count.checked_mul(factor));
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(expected)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB)];
        match units
            .iter()
            .find(|(_, factor)| self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A length of time that may be left open.
pub(super) fn some_time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    time::deserialize(input).map(Some)
}

/// The number and the unit behind it.
fn split(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    (count.parse().ok(), unit.trim_start())
}
