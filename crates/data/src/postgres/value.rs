//! [`Value`]s on the wire: bound as the type that the server wants, read as what SQLite would give.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use env::Uuid;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::numeric;
use crate::Value;

type Outcome<T> = Result<T, Box<dyn StdError + Sync + Send>>;

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
const EPOCH: i64 = 946_684_800_000_000;

/// A value that the type of the parameter has no place for.
#[derive(Debug, thiserror::Error)]
#[error("{found} does not fit a parameter of the type {wanted}")]
pub(super) struct Misfit {
    found: &'static str,
    wanted: String,
}

/// A type that has no [`Value`].
#[derive(Debug, thiserror::Error)]
#[error("a column of the type {0} cannot be read: cast it to text")]
struct Unreadable(String);

/// A value on its way to the server.
#[derive(Debug)]
pub(super) struct Bound<'v>(pub(super) &'v Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        if let Kind::Domain(base) = wanted.kind() {
            return self.to_sql(base, out);
        }
        let misfit = || Misfit {
            found: self.0.kind(),
            wanted: wanted.to_string(),
        };
        let text = match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Integer(number) => return integer(*number, wanted, out),
            Value::Real(number) => {
                match *wanted {
                    Type::FLOAT8 => out.put_f64(*number),
                    Type::FLOAT4 => out.put_f32(*number as f32),
                    Type::NUMERIC => {
                        numeric::write(&number.to_string(), out).ok_or_else(misfit)?;
                    }
                    ref text if is_text(text) => out.put_slice(number.to_string().as_bytes()),
                    _ => return Err(misfit().into()),
                }
                return Ok(IsNull::No);
            }
            Value::Blob(bytes) if *wanted == Type::BYTEA => {
                out.put_slice(bytes);
                return Ok(IsNull::No);
            }
            Value::Array(items) if matches!(wanted.kind(), Kind::Array(_)) => {
                let items: Vec<_> = items.iter().map(Bound).collect();
                return items.as_slice().to_sql(wanted, out);
            }
            Value::Blob(_) | Value::Array(_) => return Err(misfit().into()),
            Value::Text(text) => text,
        };
        match *wanted {
            Type::JSONB => {
                out.put_u8(1); // the version of its form
                out.put_slice(text.as_bytes());
            }
            Type::UUID => {
                let id: Uuid = text.parse().map_err(|_| misfit())?;
                out.put_slice(id.as_bytes());
            }
            Type::NUMERIC => numeric::write(text, out).ok_or_else(misfit)?,
            Type::FLOAT8 => out.put_f64(text.parse().map_err(|_| misfit())?),
            ref other if is_text(other) => out.put_slice(text.as_bytes()),
            // As SQLite does it in a column of numbers.
            _ => return integer(text.parse().map_err(|_| misfit())?, wanted, out),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true // what does not fit is refused above, with the value in view
    }

    to_sql_checked!();
}

fn is_text(wanted: &Type) -> bool {
    matches!(
        *wanted,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON
    ) || matches!(wanted.kind(), Kind::Enum(_))
}

fn integer(number: i64, wanted: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
    let misfit = |found| Misfit {
        found,
        wanted: wanted.to_string(),
    };
    let too_large = |_| misfit("an integer out of its range");
    match *wanted {
        Type::INT8 => out.put_i64(number),
        Type::INT4 => out.put_i32(number.try_into().map_err(too_large)?),
        Type::INT2 => out.put_i16(number.try_into().map_err(too_large)?),
        Type::OID | Type::XID => out.put_u32(number.try_into().map_err(too_large)?),
        Type::XID8 => out.put_u64(number.try_into().map_err(too_large)?),
        Type::BOOL if matches!(number, 0 | 1) => out.put_u8(number as u8),
        Type::FLOAT8 => out.put_f64(number as f64),
        Type::FLOAT4 => out.put_f32(number as f32),
        Type::NUMERIC => {
            // Digits always have a form.
            let _ = numeric::write(&number.to_string(), out);
        }
        Type::TIMESTAMPTZ | Type::TIMESTAMP => {
            let micros = number
                .checked_mul(1000)
                .and_then(|micros| micros.checked_sub(EPOCH));
            out.put_i64(micros.ok_or_else(|| misfit("an integer out of its range"))?);
        }
        ref text if is_text(text) => out.put_slice(number.to_string().as_bytes()),
        _ => return Err(misfit("an integer").into()),
    }
    Ok(IsNull::No)
}

/// A value that came from the server.
pub(super) struct Read(pub(super) Value);

impl<'r> FromSql<'r> for Read {
    fn from_sql(found: &Type, raw: &'r [u8]) -> Outcome<Self> {
        if let Kind::Domain(base) = found.kind() {
            return Self::from_sql(base, raw);
        }
        Ok(Self(match *found {
            Type::BOOL => Value::Integer(bool::from_sql(found, raw)?.into()),
            Type::INT2 => Value::Integer(i16::from_sql(found, raw)?.into()),
            Type::INT4 => Value::Integer(i32::from_sql(found, raw)?.into()),
            Type::INT8 | Type::XID8 => Value::Integer(i64::from_sql(&Type::INT8, raw)?),
            Type::OID | Type::XID => Value::Integer(u32::from_sql(&Type::OID, raw)?.into()),
            Type::FLOAT4 => Value::Real(f32::from_sql(found, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(found, raw)?),
            Type::NUMERIC => numeric::read(raw).ok_or("a malformed numeric")?,
            Type::BYTEA => Value::Blob(raw.to_vec()),
            Type::UUID => Value::Text(Uuid::from_slice(raw)?.to_string()),
            Type::JSONB => {
                Value::Text(str::from_utf8(raw.get(1..).unwrap_or_default())?.to_owned())
            }
            Type::TIMESTAMPTZ | Type::TIMESTAMP => {
                let micros = i64::from_sql(&Type::INT8, raw)?.saturating_add(EPOCH);
                Value::Integer(micros.div_euclid(1000))
            }
            Type::VOID => Value::Null,
            ref text if is_text(text) => Value::Text(str::from_utf8(raw)?.to_owned()),
            _ => return Err(Unreadable(found.to_string()).into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Outcome<Self> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPES: &[Type] = &[
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::BYTEA,
        Type::UUID,
        Type::JSONB,
        Type::TIMESTAMPTZ,
        Type::VOID,
        Type::TEXT,
        Type::POINT,
    ];

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_a_value_or_an_error(raw: Vec<u8>) {
            for each in TYPES {
                let _ = Read::from_sql(each, &raw);
            }
        }

        #[test]
        fn whatever_is_bound_is_written_or_refused(text: String, number: i64, real: f64) {
            for value in [Value::Text(text), Value::Integer(number), Value::Real(real)] {
                for each in TYPES {
                    let _ = Bound(&value).to_sql(each, &mut BytesMut::new());
                }
            }
        }
    }
}
