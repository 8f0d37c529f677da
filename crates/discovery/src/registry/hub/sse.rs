//! Server-sent events, as they arrive in pieces (WHATWG HTML, section 9.2.6).

/// The most that one event may hold, in bytes.
const EVENT_LIMIT: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Where to go on after it, if it says.
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// Puts events together.
#[derive(Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    event: Event,
}

/// An event is larger than any that a hub sends.
#[derive(Debug, thiserror::Error)]
#[error("an event of the hub has more than {EVENT_LIMIT} bytes")]
pub(super) struct TooLarge;

impl Parser {
    /// The events that `bytes` complete. Comments and fields that have no meaning here are passed over.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLarge> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() + self.event.data.len() > EVENT_LIMIT {
                return Err(TooLarge);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                events.extend(self.take(line.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(events)
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}
