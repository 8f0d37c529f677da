//! What comes out of a query.

use std::{fmt, sync::Arc};

use env::{Timestamp, Uuid};

use crate::{Error, Result, Value};

/// One row of a result, detached from the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column, by its name or its position: `row.get::<u32>("stock")?`,
    /// `row.get::<String>(0)?`.
    ///
    /// # Errors
    /// [`Error::NoColumn`], or [`Error::Type`] when the value does not fit `T`; `NULL` fits
    /// `Option<T>` only.
    pub fn get<T: FromValue>(&self, column: impl Column) -> Result<T> {
        let value = column.of(self).ok_or_else(|| Error::NoColumn {
            column: column.to_string(),
            present: self.columns.join(", "),
        })?;
        T::from_value(value).ok_or_else(|| Error::Type {
            column: column.to_string(),
            expected: std::any::type_name::<T>(),
            found: value.kind(),
        })
    }

    /// The names of the columns, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// How a column is named: `&str` or its position from 0.
pub trait Column: fmt::Display + sealed::Find {}

impl Column for &str {}
impl Column for usize {}

mod sealed {
    use super::{Row, Value};

    pub trait Find {
        fn of<'row>(&self, row: &'row Row) -> Option<&'row Value>;
    }

    impl Find for &str {
        fn of<'row>(&self, row: &'row Row) -> Option<&'row Value> {
            let position = row.columns.iter().position(|name| name == self)?;
            row.values.get(position)
        }
    }

    impl Find for usize {
        fn of<'row>(&self, row: &'row Row) -> Option<&'row Value> {
            row.values.get(*self)
        }
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// `None` when the value is of another kind or out of range.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! integers {
    ($($integer:ty),*) => {
        $(impl FromValue for $integer {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => (*number).try_into().ok(),
                    _ => None,
                }
            }
        })*
    };
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64, usize);

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(number) => Some(*number),
            // An expression such as `sum(price)` may give either.
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl FromValue for Uuid {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(millis) => Timestamp::from_millisecond(*millis).ok(),
            _ => None,
        }
    }
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}
