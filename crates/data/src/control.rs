//! Statements that have no place inside a transaction.

use crate::{Error, Result};

/// A statement of a transaction may not end it, nor change how it or its connection works: SQLite's
/// transaction belongs to a whole group, and PostgreSQL's connection to whoever comes next.
pub(crate) fn refuse_control(sql: &str) -> Result<()> {
    const CONTROL: [&str; 15] = [
        "BEGIN",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "PRAGMA",
        "ATTACH",
        "DETACH",
        "VACUUM",
        // Of PostgreSQL alone.
        "START",
        "ABORT",
        "DISCARD",
        "LISTEN",
        "UNLISTEN",
    ];
    let word = first_word(sql);
    if CONTROL
        .iter()
        .any(|control| control.eq_ignore_ascii_case(word))
    {
        return Err(Error::TransactionControl {
            sql: sql.to_owned(),
        });
    }
    Ok(())
}

/// The first word of a statement, past what SQLite skips.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ';');
        let comment_end = match rest.get(..2) {
            Some("--") => "\n",
            Some("/*") => "*/",
            _ => break,
        };
        rest = rest.split_once(comment_end).map_or("", |(_, after)| after);
    }
    rest.split(|letter: char| !letter.is_ascii_alphabetic())
        .next()
        .unwrap_or_default()
}
