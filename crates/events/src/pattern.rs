//! Which types of events are wanted: an exact type, or all that begin with what stands before `.*`.

use data::Value;

use crate::{Error, Result, envelope::NAME_LIMIT};

/// Refuses what no type of an event can match.
pub(crate) fn check(pattern: &str) -> Result<()> {
    let name = pattern.strip_suffix(".*").unwrap_or(pattern);
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && name.chars().all(legal) && pattern.len() <= NAME_LIMIT {
        return Ok(());
    }
    Err(Error::InvalidPattern {
        pattern: pattern.to_owned(),
    })
}

/// What every matching type begins with, where `pattern` is not exact: `order.` of `order.*`.
pub(crate) fn prefix(pattern: &str) -> Option<&str> {
    pattern
        .ends_with(".*")
        .then(|| &pattern[..pattern.len() - 1])
}

/// Whether events of the type `kind` are wanted by `pattern`.
pub(crate) fn covers(pattern: &str, kind: &str) -> bool {
    match prefix(pattern) {
        None => pattern == kind,
        Some(prefix) => kind.starts_with(prefix),
    }
}

/// Whether every type that `narrow` covers is covered by `wide` too.
pub(crate) fn includes(wide: &str, narrow: &str) -> bool {
    match (prefix(wide), prefix(narrow)) {
        (Some(wide), Some(narrow)) => narrow.starts_with(wide),
        (None, Some(_)) => false,
        (_, None) => covers(wide, narrow),
    }
}

/// The SQL condition on the column `type` that one of `patterns` covers it, its parameters numbered from `first`.
pub(crate) fn condition<'p>(
    patterns: impl IntoIterator<Item = &'p str>,
    first: usize,
) -> (String, Vec<Value>) {
    let mut conditions = vec!["1 = 0".to_owned()];
    let mut values = Vec::new();
    for pattern in patterns {
        let number = first + values.len();
        match prefix(pattern) {
            None => {
                conditions.push(format!("type = ${number}"));
                values.push(pattern.into());
            }
            Some(prefix) => {
                let length = prefix.len();
                conditions.push(format!("substr(type, 1, {length}) = ${number}"));
                values.push(prefix.into());
            }
        }
    }
    (conditions.join(" OR "), values)
}
