//! Amounts of money: integer minor units with their currency inside, decimals such as `99.99` at the edge.
//!
//! No amount is ever computed in floating point. JSON has only one kind of number, and the reader of it
//! hands out doubles; a [`Decimal`] therefore goes through the shortest text that stands for the double,
//! which within the bounds of this module is the very text that was sent.

use std::{fmt, str::FromStr};

use outrigger::events::{JsonSchema, schemars};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected},
};

use crate::word::words;

/// The greatest price of one piece, in minor units: 10,000,000.00.
pub const PRICE_MAX: i64 = 1_000_000_000;
/// The greatest amount at all, in minor units: fifteen digits, which every double holds exactly.
pub const AMOUNT_MAX: i64 = 999_999_999_999_999;

/// An amount in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// `minor` cents, or what the currency calls them.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The amount that `decimal` stands for.
    pub const fn of(decimal: Decimal, currency: Currency) -> Self {
        Self::new(decimal.0, currency)
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The amount as the edge writes it.
    pub const fn decimal(self) -> Decimal {
        Decimal(self.minor)
    }

    /// The sum; `None` when the currencies differ or the sum is beyond [`AMOUNT_MAX`].
    pub fn plus(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        bounded(self.minor.checked_add(other.minor)?).map(|minor| Self { minor, ..self })
    }

    /// The price of `quantity` pieces; `None` beyond [`AMOUNT_MAX`].
    pub fn times(self, quantity: u32) -> Option<Self> {
        bounded(self.minor.checked_mul(quantity.into())?).map(|minor| Self { minor, ..self })
    }
}

fn bounded(minor: i64) -> Option<i64> {
    (0..=AMOUNT_MAX).contains(&minor).then_some(minor)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

words! {
    /// The currencies that the shop sells in, by their codes of ISO 4217; each has hundredths.
    #[derive(Default)]
    pub enum Currency {
        /// Euro, the default.
        #[default]
        Eur = "EUR",
        /// Pound sterling.
        Gbp = "GBP",
        /// United States dollar.
        Usd = "USD",
    }
}

/// An amount in the decimal form of the edge: from 0 to [`AMOUNT_MAX`], at most two digits after the point.
///
/// ```
/// # use shop_contracts::Decimal;
/// let price: Decimal = serde_json::from_str("99.99")?;
/// assert_eq!(price.minor(), 9999);
/// assert_eq!(serde_json::to_string(&price)?, "99.99");
/// assert!(serde_json::from_str::<Decimal>("0.001").is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(i64);

impl Decimal {
    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl FromStr for Decimal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(Error::NotAnAmount);
        }
        let hundredths = match fraction.len() {
            1 => fraction.parse::<i64>().map(|tenths| tenths * 10),
            2 => fraction.parse::<i64>(),
            _ => return Err(Error::TooPrecise),
        };
        let minor = whole
            .parse::<i64>()
            .ok()
            .and_then(|whole| whole.checked_mul(100));
        minor
            .zip(hundredths.ok())
            .and_then(|(minor, hundredths)| minor.checked_add(hundredths))
            .and_then(bounded)
            .map(Self)
            .ok_or(Error::TooLarge)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The division is correctly rounded, so this is the double nearest to the decimal, and the shortest
        // text that stands for it is the decimal itself (up to fifteen digits).
        serializer.serialize_f64(self.0 as f64 / 100.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount such as 99.99")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Decimal, E> {
        number.to_string().parse().map_err(|error| match error {
            Error::NotAnAmount => E::invalid_value(Unexpected::Float(number), &self),
            error => E::custom(error),
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Decimal, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Decimal, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not digits with at most one point between them.
    #[error("it must be an amount such as 99.99")]
    NotAnAmount,
    /// There are more than two digits after the point.
    #[error("an amount has at most two digits after the point")]
    TooPrecise,
    /// It is beyond [`AMOUNT_MAX`].
    #[error("an amount is at most {}", Decimal(AMOUNT_MAX))]
    TooLarge,
}
