//! The place of an event among all events of a database.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A place in the order of all events. Later events have greater positions; nothing else can be told from one: they are
/// not dense, and the distance between two means nothing.
///
/// Write it down as text ([`Display`](fmt::Display), [`FromStr`], serde), and compare positions, not their texts.
///
/// ```
/// # use outrigger_eventsourcing as eventsourcing;
/// use eventsourcing::Position;
///
/// let earlier: Position = "9".parse()?;
/// let later: Position = "10".parse()?;
/// assert!(Position::START < earlier && earlier < later);
/// assert_eq!(later.to_string(), "10");
/// # Ok::<_, eventsourcing::position::Unreadable>(())
/// ```
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Position {
    // The order of these two fields is the order of events.
    transaction: u64,
    sequence: u64,
}

impl Position {
    /// Before the first event.
    pub const START: Self = Self {
        transaction: 0,
        sequence: 0,
    };

    /// `transaction` is 0 where the sequence alone is the order.
    pub(crate) const fn new(transaction: u64, sequence: u64) -> Self {
        Self {
            transaction,
            sequence,
        }
    }

    pub(crate) const fn transaction(self) -> u64 {
        self.transaction
    }

    pub(crate) const fn sequence(self) -> u64 {
        self.sequence
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transaction {
            0 => write!(f, "{}", self.sequence),
            transaction => write!(f, "{transaction}.{}", self.sequence),
        }
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position in an event store: take one from an event or a subscription")]
pub struct Unreadable(String);

impl FromStr for Position {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let number = |digits: &str| {
            // `parse` alone would take a sign.
            let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| all_digits)
        };
        let (transaction, sequence) = text.split_once('.').unwrap_or(("0", text));
        match (number(transaction), number(sequence)) {
            (Some(transaction), Some(sequence)) => Ok(Self::new(transaction, sequence)),
            _ => Err(Unreadable(text.to_owned())),
        }
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

impl TryFrom<String> for Position {
    type Error = Unreadable;

    fn try_from(text: String) -> Result<Self, Unreadable> {
        text.parse()
    }
}
