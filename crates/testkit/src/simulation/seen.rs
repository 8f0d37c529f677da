//! What was seen of a run from outside: which paths it took, and who handled what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

/// Lines of the log that say that a path was taken, and what it is called.
const PATHS: [(&str, &str); 7] = [
    ("\"the token has expired\"", "token expired"),
    (
        "\"a request that came to no answer is taken over\"",
        "request taken over",
    ),
    ("\"the bus is out of reach\"", "bus out of reach"),
    ("\"the bus does not answer\"", "bus silent"),
    ("\"an acknowledgement is lost\"", "acknowledgement lost"),
    (
        "\"the bus gives events out of order\"",
        "delivered out of order",
    ),
    // Whoever asked it says so, as a part of what went wrong.
    ("the registry does not answer", "registry silent"),
];
/// Says that a handler has committed.
const HANDLED: &str = "\"an event is handled\"";

/// A handler that was done with a message: `group/handler`, and the id of the message.
pub(super) type Handled = (String, String);

/// Clones are handles of one memory.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    reached: BTreeMap<&'static str, u64>,
    handled: Vec<Handled>,
    commits: u64,
    /// The requests that the gateway sent on and may send once only.
    sent: BTreeSet<String>,
    sent_again: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    handler: String,
    id: String,
}

impl Seen {
    /// A path was taken.
    pub(super) fn reach(&self, path: &'static str) {
        self.reach_often(path, 1);
    }

    /// A path was taken so many times.
    pub(super) fn reach_often(&self, path: &'static str, times: u64) {
        if times == 0 {
            return;
        }
        *self.inner().reached.entry(path).or_default() += times;
    }

    /// Something was committed to a database.
    pub(super) fn commit(&self) {
        self.inner().commits += 1;
    }

    /// How often something was committed.
    pub(super) fn commits(&self) -> u64 {
        self.inner().commits
    }

    /// A line of the log, in its JSON form.
    pub(super) fn line(&self, line: &str) {
        if line.contains(HANDLED)
            && let Ok(Line { fields }) = serde_json::from_str(line)
        {
            self.inner().handled.push((fields.handler, fields.id));
            self.reach("event handled");
        }
        for (said, path) in PATHS {
            if line.contains(said) {
                self.reach(path);
            }
        }
    }

    /// The gateway sends something on. A POST without a key may have been done when no answer came: it must not be sent
    /// again, and each has a correlation id of its own.
    pub(super) fn sent_on(&self, bytes: &[u8]) {
        let Some(head) = head_of_post(bytes) else {
            return;
        };
        let header = |name: &str| {
            let line = |line: &&str| {
                line.get(..name.len())
                    .is_some_and(|it| it.eq_ignore_ascii_case(name))
            };
            head.lines().find(line)
        };
        let (None, Some(id)) = (header("idempotency-key:"), header("x-correlation-id:")) else {
            return;
        };
        let request = format!("{} {id}", head.lines().next().unwrap_or_default());
        let mut inner = self.inner();
        if !inner.sent.insert(request.clone()) {
            inner.sent_again.push(request);
        }
    }

    /// The requests that the gateway sent more than once, and should not have.
    pub(super) fn sent_again(&self) -> Vec<String> {
        self.inner().sent_again.clone()
    }

    /// How often each path was taken.
    pub(super) fn reached(&self) -> BTreeMap<String, u64> {
        let inner = self.inner();
        let reached = inner.reached.iter();
        reached
            .map(|(path, times)| ((*path).to_owned(), *times))
            .collect()
    }

    /// What was handled, in the order in which it was.
    pub(super) fn handled(&self) -> Vec<Handled> {
        self.inner().handled.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn head_of_post(bytes: &[u8]) -> Option<&str> {
    const METHOD: &[u8] = b"POST ";
    const END: &[u8] = b"\r\n\r\n";
    if !bytes.starts_with(METHOD) {
        return None;
    }
    let end = bytes.windows(END.len()).position(|part| part == END)?;
    std::str::from_utf8(&bytes[..end]).ok()
}
