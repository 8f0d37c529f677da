//! What happened in a run, for people: who said what to whom, what was logged, what went wrong on purpose.

use std::{fmt, time::Duration};

use serde_json::Value;

/// More entries than anybody reads; the first ones go when more come.
const ENTRIES: usize = 20_000;
/// What the bus logs at level debug, which is as much a message as any.
const OF_THE_BUS: [&str; 3] = [
    "the bus takes an event",
    "the bus gives an event",
    "an acknowledgement is lost",
];
/// The longest text of an entry, in characters.
const TEXT: usize = 160;

/// The entries of a run, by time.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    entries: std::collections::VecDeque<Entry>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// After how much simulated time.
    pub at: Duration,
    /// Where; `None` for the simulation itself.
    pub machine: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// What happened, in words.
    pub text: String,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A message to that machine.
    Message(String),
    /// Something that a machine logged, not a warning.
    Said,
    /// A warning or an error that a machine logged.
    Warned,
    /// A fault that begins or ends.
    Fault,
    /// Something that was not as it must be.
    Violation,
}

impl Timeline {
    /// The entries, by time.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The last `count` entries.
    #[must_use]
    pub fn last(mut self, count: usize) -> Self {
        let surplus = self.entries.len().saturating_sub(count);
        self.entries.drain(..surplus);
        self
    }

    /// Forgets what came before the users: that every machine starts is no news.
    pub(super) fn begin_here(&mut self) {
        self.entries.clear();
    }

    /// Adds the begin of a request or an answer; what else is sent is its body, and is left out.
    pub(super) fn sent(&mut self, at: Duration, from: Option<&str>, to: &str, bytes: &[u8]) {
        if let Some(text) = head(bytes) {
            self.add(at, from, Kind::Message(to.to_owned()), &text);
        }
    }

    /// Adds a line of the log, in its JSON form, if a person would want to see it.
    pub(super) fn line(&mut self, at: Duration, machine: Option<&str>, line: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let message = line["message"].as_str().unwrap_or_default();
        let kind = match line["level"].as_str().unwrap_or_default() {
            _ if message == "violated" => Kind::Violation,
            level if level.eq_ignore_ascii_case("error") || level.eq_ignore_ascii_case("warn") => {
                Kind::Warned
            }
            level if level.eq_ignore_ascii_case("info") => Kind::Said,
            _ if OF_THE_BUS.contains(&message) => Kind::Said,
            _ => return,
        };
        self.add(at, machine, kind, &format!("{message}{}", fields(&line)));
    }

    /// Adds what the simulation does.
    pub(super) fn note(&mut self, at: Duration, what: &str) {
        self.add(at, None, Kind::Fault, what);
    }

    fn add(&mut self, at: Duration, machine: Option<&str>, kind: Kind, text: &str) {
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
        }
        let mut text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = text.char_indices().nth(TEXT) {
            text.truncate(end);
            text.push('…');
        }
        let machine = machine.map(str::to_owned);
        self.entries.push_back(Entry {
            at,
            machine,
            kind,
            text,
        });
    }
}

/// The first line of an HTTP/1.1 request or answer, without the version.
fn head(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    match line.strip_prefix("HTTP/1.1 ") {
        Some(status) => Some(status.to_owned()),
        None => line.strip_suffix(" HTTP/1.1").map(str::to_owned),
    }
}

/// The fields of a log line that say more than its message.
fn fields(line: &Value) -> String {
    const KNOWN: [&str; 10] = [
        "timestamp",
        "level",
        "message",
        "target",
        "service",
        "span",
        "trace_id",
        "span_id",
        "correlation_id",
        "correlationId",
    ];
    let mut told = String::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        match value {
            _ if KNOWN.contains(&name.as_str()) => {}
            Value::Object(_) => told.push_str(&fields(value)),
            Value::String(text) => told.push_str(&format!(" {name}={text}")),
            _ => told.push_str(&format!(" {name}={value}")),
        }
    }
    told
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.machine.as_deref().unwrap_or("-");
        write!(f, "{:>9.3} s  {machine:<22} ", self.at.as_secs_f64())?;
        match &self.kind {
            Kind::Message(to) => write!(f, "-> {to}: {}", self.text),
            Kind::Said => f.write_str(&self.text),
            Kind::Warned => write!(f, "! {}", self.text),
            Kind::Fault => write!(f, "*** {}", self.text),
            Kind::Violation => write!(f, "VIOLATED {}", self.text),
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, entry) in self.entries.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{entry}")?;
        }
        Ok(())
    }
}
