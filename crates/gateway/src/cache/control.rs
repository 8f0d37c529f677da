//! `cache-control`, as far as a shared cache needs it (RFC 9111, section 5.2).

use std::time::Duration;

use http::{HeaderMap, header};

/// The directives of one message. What is there twice counts as its strictest; a number that is none
/// counts as 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
}

impl Control {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for directive in split(&text) {
                control.add(directive);
            }
        }
        control
    }

    fn add(&mut self, directive: &str) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let least = |known: Option<Duration>| {
            let seconds = value.trim().trim_matches('"').parse::<u32>().unwrap_or(0);
            let seconds = Duration::from_secs(seconds.into());
            Some(known.map_or(seconds, |known| known.min(seconds)))
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            // With or without the fields that it names: what is private in part is not shared at all.
            "private" => self.private = true,
            "max-age" => self.max_age = least(self.max_age),
            "s-maxage" => self.s_maxage = least(self.s_maxage),
            _ => {}
        }
    }
}

/// The parts between the commas that are not within quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}
