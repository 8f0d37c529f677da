//! One run of a saga's function over its journal.

use std::{
    collections::BTreeMap,
    mem,
    task::{Context, Waker},
    time::Duration,
};

use env::{Timestamp, Uuid};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    journal::{Deed, Entry, Undo},
    step::Effect,
};

/// How many things a saga may do. One that does more is parked: it is likely to be a loop without an end.
pub const STEP_LIMIT: u32 = 1000;

/// Time and chance for one step, drawn before it, so that the step itself is a pure function.
#[derive(Debug)]
pub struct Fresh {
    now: Timestamp,
    chance: StdRng,
}

impl Fresh {
    /// From the world.
    pub fn draw() -> Self {
        Self::of(env::now(), env::random().random())
    }

    /// From a given time and seed.
    pub fn of(now: Timestamp, seed: [u8; 32]) -> Self {
        Self {
            now,
            chance: StdRng::from_seed(seed),
        }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        self.now
    }

    pub(crate) fn id(&mut self) -> Uuid {
        let mut chance = [0; 10];
        self.chance.fill_bytes(&mut chance);
        let millis = u64::try_from(self.now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid()
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.chance.next_u64()
    }
}

/// What came back for something that the function did.
pub(crate) enum Answer {
    Replied(Value),
    Refused(crate::Failure),
    Elapsed,
}

/// What the futures of a run share.
pub(crate) struct Run {
    /// What the function did in earlier runs, by its place in the sequence.
    script: BTreeMap<u32, Entry>,
    /// The place of what it does next.
    next: u32,
    /// What was answered and not yet heard of by the function.
    answers: BTreeMap<u32, Answer>,
    waiting: BTreeMap<u32, Waker>,
    /// What it does now for the first time.
    news: News,
    fresh: Fresh,
    halted: Option<String>,
}

/// What a run adds to the journal, and what is to be done about it.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) entries: Vec<Entry>,
    pub(crate) effects: Vec<Effect>,
}

impl Run {
    pub(crate) fn new(journal: &[Entry], fresh: Fresh) -> Self {
        let made = |entry: &Entry| Some((entry.made_at()?, entry.clone()));
        Self {
            script: journal.iter().filter_map(made).collect(),
            next: 0,
            answers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            news: News::default(),
            fresh,
            halted: None,
        }
    }

    /// Makes a call; `None` when the run is halted.
    pub(crate) fn call(
        &mut self,
        topic: &str,
        limit: Duration,
        encode: impl FnOnce() -> serde_json::Result<(Value, Option<Undo>)>,
    ) -> Option<u32> {
        let deed = Deed::Call(topic);
        let seq = self.claim(deed)?;
        if self.script.contains_key(&seq) {
            return Some(seq);
        }
        match encode() {
            Ok((data, undo)) => {
                let topic = topic.to_owned();
                self.news.effects.push(Effect::Send {
                    seq,
                    topic: topic.clone(),
                    data,
                    limit,
                });
                self.news.entries.push(Entry::Called { seq, topic, undo });
                Some(seq)
            }
            Err(error) => {
                self.halt(format!(
                    "{deed} at {seq} cannot be written as JSON: {error}"
                ));
                None
            }
        }
    }

    /// Goes to sleep; `None` when the run is halted.
    pub(crate) fn sleep(&mut self, duration: Duration) -> Option<u32> {
        let seq = self.claim(Deed::Sleep)?;
        if !self.script.contains_key(&seq) {
            self.news.entries.push(Entry::Slept { seq });
            self.news.effects.push(Effect::Wake {
                seq,
                after: duration,
            });
        }
        Some(seq)
    }

    /// The recorded value, or a fresh one, which is recorded.
    pub(crate) fn record<T: Serialize + DeserializeOwned>(
        &mut self,
        what: &str,
        fresh: impl FnOnce(&mut Fresh) -> T,
    ) -> T {
        let Some(seq) = self.claim(Deed::Record(what)) else {
            return fresh(&mut self.fresh);
        };
        if let Some(Entry::Recorded { value, .. }) = self.script.get(&seq) {
            match T::deserialize(value) {
                Ok(value) => return value,
                Err(error) => self.halt(format!(
                    "the journal's {what} at {seq} cannot be read: {error}"
                )),
            }
        }
        let value = fresh(&mut self.fresh);
        match serde_json::to_value(&value) {
            Ok(json) => self.news.entries.push(Entry::Recorded {
                seq,
                what: what.to_owned(),
                value: json,
            }),
            Err(error) => self.halt(format!("the {what} at {seq} cannot be recorded: {error}")),
        }
        value
    }

    /// Takes the next place in the sequence, where the journal must hold the same deed or nothing yet.
    fn claim(&mut self, deed: Deed<'_>) -> Option<u32> {
        if self.halted.is_some() {
            return None;
        }
        let seq = self.next;
        if seq >= STEP_LIMIT {
            self.halt(format!(
                "the code has taken {STEP_LIMIT} steps: is there a loop without an end?"
            ));
            return None;
        }
        if let Some(recorded) = self.script.get(&seq).and_then(Entry::deed)
            && recorded != deed
        {
            let misfit = format!("the journal has {recorded} at {seq} where the code has {deed}");
            self.halt(misfit);
            return None;
        }
        self.next += 1;
        Some(seq)
    }

    /// What was answered at `seq`; otherwise the task is woken when it is.
    pub(crate) fn answer(&mut self, seq: u32, cx: &Context<'_>) -> Option<Answer> {
        if self.halted.is_some() {
            return None;
        }
        let answer = self.answers.remove(&seq);
        if answer.is_none() {
            self.waiting.insert(seq, cx.waker().clone());
        }
        answer
    }

    /// Lets the function hear of an answer.
    pub(crate) fn reveal(&mut self, seq: u32, answer: Answer) {
        self.answers.insert(seq, answer);
        if let Some(waker) = self.waiting.remove(&seq) {
            waker.wake();
        }
    }

    /// Ends the run: the saga is to be parked for `reason`. The first reason is the one that counts.
    pub(crate) fn halt(&mut self, reason: String) {
        self.halted.get_or_insert(reason);
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// What the run has added, or why it was halted.
    pub(crate) fn finish(&mut self) -> Result<News, String> {
        if let Some((seq, deed)) = self.unclaimed() {
            let reason = format!("the journal has {deed} at {seq}, which the code no longer makes");
            self.halt(reason);
        }
        match self.halted.take() {
            Some(reason) => Err(reason),
            None => Ok(mem::take(&mut self.news)),
        }
    }

    fn unclaimed(&self) -> Option<(u32, Deed<'_>)> {
        let (seq, entry) = self.script.range(self.next..).next()?;
        Some((*seq, entry.deed()?))
    }
}
