//! Running one statement on one connection: binding `$n`, reading rows, naming errors.

use std::sync::Arc;

use rusqlite::{
    CachedStatement, Connection,
    ffi::{self, ErrorCode},
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    Error, Result, Row, Value,
    error::{Cause, Kind},
};

/// Runs a statement; the number of rows that it changed.
pub(super) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64> {
    let mut statement = prepare(connection, sql, params)?;
    let changed = statement
        .raw_execute()
        .map_err(|error| failed(sql, error))?;
    Ok(changed as u64)
}

/// Runs a statement to its end; all its rows.
pub(super) fn query(connection: &Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
    let mut statement = prepare(connection, sql, params)?;
    let mut rows = Vec::new();
    let mut columns: Option<Arc<[String]>> = None;
    let mut cursor = statement.raw_query();
    while let Some(row) = cursor.next().map_err(|error| failed(sql, error))? {
        // The names are asked for at the first row, because a change of the schema shows only when
        // the statement runs.
        let columns = columns.get_or_insert_with(|| {
            let names = row.as_ref().column_names();
            names.into_iter().map(str::to_owned).collect()
        });
        let values = (0..columns.len())
            .map(|position| {
                read(
                    row.get_ref(position).map_err(|error| failed(sql, error))?,
                    sql,
                )
            })
            .collect::<Result<_>>()?;
        rows.push(Row::new(Arc::clone(columns), values));
    }
    Ok(rows)
}

/// Runs several statements without parameters.
pub(super) fn batch(connection: &Connection, sql: &str) -> Result<()> {
    connection
        .execute_batch(sql)
        .map_err(|error| failed(sql, error))
}

/// The error of a failed statement.
pub(super) fn failed(sql: &str, error: rusqlite::Error) -> Error {
    Error::Statement {
        sql: sql.to_owned(),
        kind: kind(&error),
        source: cause(error),
    }
}

pub(super) fn cause(error: rusqlite::Error) -> Cause {
    Arc::new(error)
}

/// The disk failed, other than by being full.
pub(super) fn is_io(error: &Error) -> bool {
    code(error).is_some_and(|failure| failure.code == ErrorCode::SystemIoFailure)
}

/// The disk failed to sync.
pub(super) fn is_failed_sync(error: &Error) -> bool {
    code(error).is_some_and(|failure| failure.extended_code == ffi::SQLITE_IOERR_FSYNC)
}

fn code(error: &Error) -> Option<&ffi::Error> {
    let Error::Statement { source, .. } = error else {
        return None;
    };
    match source.downcast_ref::<rusqlite::Error>()? {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure),
        _ => None,
    }
}

pub(super) fn kind(error: &rusqlite::Error) -> Kind {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return Kind::Other;
    };
    match (failure.code, failure.extended_code) {
        (
            _,
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_ROWID,
        ) => Kind::UniqueViolation,
        (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => Kind::ForeignKeyViolation,
        (
            _,
            ffi::SQLITE_CONSTRAINT_CHECK
            | ffi::SQLITE_CONSTRAINT_NOTNULL
            | ffi::SQLITE_CONSTRAINT_DATATYPE,
        ) => Kind::CheckViolation,
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Kind::Busy,
        (ErrorCode::DiskFull | ErrorCode::SystemIoFailure, _) => Kind::Storage,
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Kind::Corrupt,
        _ => Kind::Other,
    }
}

/// Takes the statement from the connection's cache and binds its values. To SQLite `$1` is a name
/// like any other, so each parameter is asked for its name, and the number in it says which value
/// it gets.
fn prepare<'c>(
    connection: &'c Connection,
    sql: &str,
    params: &[Value],
) -> Result<CachedStatement<'c>> {
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| failed(sql, error))?;
    let mut expected = 0;
    for index in 1..=statement.parameter_count() {
        let number =
            number(statement.parameter_name(index)).map_err(|parameter| Error::ParameterForm {
                sql: sql.to_owned(),
                parameter: parameter.to_owned(),
            })?;
        expected = expected.max(number);
        if let Some(value) = params.get(number - 1) {
            bound(value)
                .and_then(|value| statement.raw_bind_parameter(index, value))
                .map_err(|error| failed(sql, error))?;
        }
    }
    if expected != params.len() {
        return Err(Error::Parameters {
            sql: sql.to_owned(),
            expected,
            given: params.len(),
        });
    }
    Ok(statement)
}

/// The `n` of `$n`, from 1.
fn number(name: Option<&str>) -> Result<usize, &str> {
    let name = name.unwrap_or_default();
    match name.strip_prefix('$').map(str::parse::<usize>) {
        Some(Ok(number)) if number > 0 => Ok(number),
        _ => Err(name),
    }
}

fn bound(value: &Value) -> rusqlite::Result<ToSqlOutput<'_>> {
    Ok(ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(number) => ValueRef::Integer(*number),
        Value::Real(number) => ValueRef::Real(*number),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
        Value::Array(_) => return Err(rusqlite::Error::ToSqlConversionFailure(NoArrays.into())),
    }))
}

/// A value that SQLite has no type for.
#[derive(Debug, thiserror::Error)]
#[error("SQLite has no arrays: write a statement for each item")]
struct NoArrays;

fn read(value: ValueRef<'_>, sql: &str) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => {
            let text = str::from_utf8(bytes).map_err(|error| failed(sql, error.into()))?;
            Value::Text(text.to_owned())
        }
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}
