//! A stage for the pure step: a saga, its journal, and the test as all its participants.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::collections::VecDeque;

use events::{JsonSchema, schemars};
use outrigger_saga as saga;
use saga::{
    Command, Definition, Entry, Failure, journal,
    run::Fresh,
    step::{Effect, Progress, Step, step},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Does something that has a name, and answers with a number.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[command("work-service", "do", reply = u32, crate = saga)]
pub(crate) struct Do(pub(crate) String);

/// Takes it back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[command("work-service", "undo", crate = saga)]
pub(crate) struct Undo(pub(crate) String);

pub(crate) fn act(name: &str) -> Do {
    Do(name.to_owned())
}

pub(crate) fn undo(name: &str) -> Undo {
    Undo(name.to_owned())
}

/// A command as a participant sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) seq: u32,
    pub(crate) topic: String,
    pub(crate) data: Value,
}

impl Sent {
    /// What goes out; nothing does of a wait.
    pub(crate) fn of(effect: Effect) -> Option<Self> {
        let (seq, topic, data) = match effect {
            Effect::Send {
                seq, topic, data, ..
            } => (seq, topic, data),
            Effect::Start { seq, saga, .. } => (seq, "start".to_owned(), json!(saga)),
            Effect::Revert { seq, of, .. } => (seq, "revert".to_owned(), json!(of.to_string())),
            Effect::Listen { seq, event, .. } => (seq, "listen".to_owned(), json!(event)),
            Effect::Wake { .. } | Effect::Deadline { .. } => return None,
        };
        Some(Self { seq, topic, data })
    }

    /// `do a` or `undo a`.
    pub(crate) fn name(&self) -> String {
        let action = self.topic.rsplit('.').next().unwrap_or_default();
        format!("{action} {}", self.data.as_str().unwrap_or_default())
    }
}

pub(crate) struct Stage {
    pub(crate) definition: Definition,
    pub(crate) input: String,
    pub(crate) journal: Vec<Entry>,
    pub(crate) progress: Progress,
    /// Sent and not yet looked at by the test.
    pub(crate) sent: VecDeque<Sent>,
    /// Everything ever sent, by name.
    pub(crate) log: Vec<String>,
    steps: u8,
}

impl Stage {
    /// Starts a saga.
    pub(crate) fn start(definition: Definition, input: impl Serialize) -> Self {
        let mut stage = Self {
            definition,
            input: serde_json::to_string(&input).expect("JSON"),
            journal: Vec::new(),
            progress: Progress::Running,
            sent: VecDeque::new(),
            log: Vec::new(),
            steps: 0,
        };
        stage.step();
        stage
    }

    fn step(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        let fresh = || Fresh::of(env::Timestamp::UNIX_EPOCH, [self.steps; 32]);
        let step = |fresh| step(&self.definition, &self.input, &self.journal, fresh);
        let Step {
            entries,
            effects,
            progress,
        } = step(fresh());
        assert_eq!(step(fresh()).effects, effects, "a step is a pure function");
        self.journal.extend(entries);
        self.progress = progress;
        for sent in effects.into_iter().filter_map(Sent::of) {
            self.log.push(sent.name());
            self.sent.push_back(sent);
        }
    }

    /// Lets the saga hear of something, as the driver does; whether it was news.
    pub(crate) fn hear(&mut self, entry: Entry) -> bool {
        let ended = matches!(
            self.progress,
            Progress::Completed | Progress::Compensated(_)
        );
        if ended || !journal::awaits(&self.journal, &entry) {
            return false;
        }
        self.journal.push(entry);
        self.step();
        true
    }

    pub(crate) fn reply(&mut self, seq: u32, reply: Value) -> bool {
        self.hear(Entry::Replied { seq, reply })
    }

    pub(crate) fn refuse(&mut self, seq: u32, code: &str) -> bool {
        let failure = Failure::new(code, "no");
        self.hear(Entry::Refused { seq, failure })
    }

    pub(crate) fn elapse(&mut self, seq: u32) -> bool {
        self.hear(Entry::Elapsed { seq })
    }

    pub(crate) fn skip(&mut self, seq: u32, reply: Value) -> bool {
        let reason = "known otherwise".to_owned();
        self.hear(Entry::Skipped { seq, reason, reply })
    }

    pub(crate) fn cancel(&mut self) -> bool {
        let failure = Failure::new("cancelled", "no");
        self.hear(Entry::Cancelled { failure })
    }

    /// Where the latest entry of the journal was made.
    pub(crate) fn latest(&self) -> u32 {
        let made = self.journal.iter().filter_map(Entry::made_at).max();
        made.expect("something was done")
    }

    /// The next command that was sent, which must be this one; its seq.
    #[track_caller]
    pub(crate) fn expect(&mut self, name: &str) -> u32 {
        let sent = self.sent.pop_front().expect("a command");
        assert_eq!(sent.name(), name);
        sent.seq
    }

    /// Expects that command, and says that it is done.
    #[track_caller]
    pub(crate) fn done(&mut self, name: &str) {
        let seq = self.expect(name);
        let reply = match name.starts_with("do") {
            true => json!(seq),
            false => json!(null),
        };
        assert!(self.reply(seq, reply));
    }

    /// Expects that nothing more was sent, and where the saga is.
    #[track_caller]
    pub(crate) fn rests(&self, progress: &Progress) {
        assert_eq!(self.sent, [], "{}", self.progress);
        assert_eq!(&self.progress, progress);
    }

    /// Why it is parked.
    #[track_caller]
    pub(crate) fn parked(&self) -> &str {
        match &self.progress {
            Progress::Parked(reason) => reason,
            other => panic!("not parked but {other}"),
        }
    }
}
