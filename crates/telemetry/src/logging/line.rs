//! One log line: what it holds, and its two forms.

use std::{
    error::Error as StdError,
    fmt::{self, Write},
};

use env::Timestamp;
use opentelemetry::trace::SpanContext;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tracing::{
    Level,
    field::{Field, Visit},
};

/// Everything that a line says.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) timestamp: Timestamp,
    #[serde(serialize_with = "level")]
    pub(super) level: Level,
    pub(super) service: &'a str,
    pub(super) target: &'a str,
    #[serde(flatten)]
    pub(super) content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) span: Option<&'static str>,
    #[serde(flatten, serialize_with = "trace")]
    pub(super) trace: Option<SpanContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_id: Option<&'a str>,
}

fn level<S: Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(level.as_str())
}

fn trace<S: Serializer>(trace: &Option<SpanContext>, serializer: S) -> Result<S::Ok, S::Error> {
    let ids = trace.iter().flat_map(|span| {
        [
            ("trace_id", span.trace_id().to_string()),
            ("span_id", span.span_id().to_string()),
        ]
    });
    serializer.collect_map(ids)
}

/// The message of an event and its other fields.
#[derive(Default, Serialize)]
pub(super) struct Content {
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

impl Content {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Content {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }

    /// An error is written with all its causes: each one's `Display` leaves out its source.
    fn record_error(&mut self, field: &Field, error: &(dyn StdError + 'static)) {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            // Writing to a String cannot fail.
            let _ = write!(chain, ": {error}");
            source = error.source();
        }
        self.put(field, chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Line<'_> {
    /// The line as a JSON object.
    pub(super) fn json(&self) -> String {
        // Strings, numbers and a map of JSON values: serializing them cannot fail.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The line for a person.
    pub(super) fn human(&self, colour: bool) -> String {
        let (dim, bold, plain) = if colour {
            ("\x1b[2m", level_colour(self.level), "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut text = String::with_capacity(160);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{dim}{:.3}{plain} {bold}{:>5}{plain} {} {}",
            self.timestamp,
            self.level,
            self.service,
            Escaped(&self.content.message),
        );
        for (name, value) in &self.content.fields {
            let _ = match value {
                Value::String(value) => write!(text, " {dim}{name}={plain}{}", Quoted(value)),
                value => write!(text, " {dim}{name}={plain}{value}"),
            };
        }
        text.push_str(dim);
        if let Some(id) = self.correlation_id {
            let _ = write!(text, " correlation_id={}", Quoted(id));
        }
        if let Some(span) = &self.trace {
            let _ = write!(text, " trace_id={}", span.trace_id());
        }
        text.push_str(plain);
        text.push('\n');
        text
    }
}

fn level_colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[2m",
    }
}

/// Text in which nobody can forge a second line or a colour.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// A field's text, in quotes where it would not read as one word.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |character: char| {
            !(character.is_whitespace() || character.is_control() || character == '"')
        };
        if !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}
