//! What goes into a statement.

use env::{Timestamp, Uuid};

/// A value of a parameter or a column, the same for every engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number. Booleans are 0 and 1, timestamps are milliseconds since 1970 in UTC.
    Integer(i64),
    /// A floating point number.
    Real(f64),
    /// A text. UUIDs are texts, hyphenated and in lower case.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// A list, as a parameter on PostgreSQL alone: `unnest($1::text[])` makes rows of it. SQLite has none, and refuses it;
    /// there a statement for each row is as quick. Made by `collect`.
    Array(Vec<Value>),
}

impl Value {
    /// Rows as an [`Array`](Self::Array) for each column, for `unnest` to make rows of them again.
    pub fn columns<const N: usize>(rows: impl IntoIterator<Item = [Self; N]>) -> [Self; N] {
        let mut columns = [const { Vec::new() }; N];
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        columns.map(Self::Array)
    }

    /// The kind of value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "NULL",
            Value::Integer(_) => "an integer",
            Value::Real(_) => "a real",
            Value::Text(_) => "a text",
            Value::Blob(_) => "a blob",
            Value::Array(_) => "an array",
        }
    }
}

/// The parameters of a statement, in the order `$1`, `$2`, …
///
/// ```
/// # use outrigger_data as data;
/// use data::{Value, params};
///
/// let none: Option<&str> = None;
/// assert_eq!(params![7, "seven", none], &[Value::Integer(7), Value::Text("seven".into()), Value::Null]);
/// assert!(params![].is_empty());
/// ```
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::Value::from($value)),*] as &[$crate::Value]
    };
}

macro_rules! integers {
    ($($integer:ty),*) => {
        $(impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Value::Integer(value.into())
            }
        })*
    };
}

// No u64 and no usize: they do not fit, and the caller should say what then.
integers!(i8, i16, i32, i64, u8, u16, u32, bool);

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Value::Text(value.to_string())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Blob(value.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Blob(value)
    }
}

/// Milliseconds since 1970; what is finer is cut off.
impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Value::Integer(value.as_millisecond())
    }
}

/// An [`Array`](Value::Array).
impl<T> FromIterator<T> for Value
where
    Value: From<T>,
{
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Value::Array(items.into_iter().map(Value::from).collect())
    }
}

impl<T> From<Option<T>> for Value
where
    Value: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Value::from)
    }
}

impl<T: Clone> From<&T> for Value
where
    Value: From<T>,
{
    fn from(value: &T) -> Self {
        value.clone().into()
    }
}
