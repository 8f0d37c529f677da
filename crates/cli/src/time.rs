//! Times as people write them.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use outrigger::env::{self, Timestamp};

/// A length of time, such as `30s` or `1h 30m`.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    if text.trim_start().starts_with('-') || text.trim_end().ends_with("ago") {
        return Err("a length of time has no sign".to_owned());
    }
    let parsed = SpanParser::new().parse_unsigned_duration(text);
    parsed.map_err(|_| "write it as `10m`, `90s` or `1h 30m`".to_owned())
}

/// How long to pause: a second or more.
pub(crate) fn pause(text: &str) -> Result<Duration, String> {
    match length(text)? {
        pause if pause >= Duration::from_secs(1) => Ok(pause),
        _ => Err("it is a second at least".to_owned()),
    }
}

/// A time that has gone by: itself, or how long ago it was.
pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = length(text).map_err(|why| {
        format!("{why}; or write a time such as 2026-03-01T12:00:00Z, since when it is")
    })?;
    let ago = env::now().checked_sub(ago);
    ago.map_err(|_| "there was no such time".to_owned())
}
