//! One run of a saga's function over its journal: what the futures of the [handle](crate::Saga) share.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    task::{Context, Waker},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use crate::fresh::Fresh;
use crate::{
    Error, Failure,
    deed::Deed,
    journal::{Entry, Undo},
    step::{Effect, Expiry},
};

/// How many things a saga may do. One that does more is parked: it is likely to be a loop without an end.
pub const STEP_LIMIT: u32 = 1000;

/// What came back for something that the function did.
pub(crate) enum Answer {
    Replied(Value),
    Refused(Failure),
    Elapsed,
}

/// See the [module](self).
pub(crate) struct Run {
    /// What the function did in earlier runs, by its place in the sequence.
    script: BTreeMap<u32, Entry>,
    /// The place of what it does next.
    next: u32,
    /// What was answered and not yet heard of by the function.
    answers: BTreeMap<u32, Answer>,
    /// Who waits, for what.
    waiting: BTreeMap<u32, Waker>,
    /// What the function dropped before it heard of an answer.
    left: BTreeSet<u32>,
    /// Gates that the function came to, and whether it went the newer way.
    gates: BTreeMap<String, bool>,
    past_return: Option<u32>,
    /// What can only be tried again when an operator says so, and why, by its first attempt.
    hanging: BTreeMap<u32, String>,
    /// How often an operator said so.
    resumed: u32,
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
        let left = |entry: &Entry| match entry {
            Entry::Left { seq } => Some(*seq),
            _ => None,
        };
        Self {
            script: journal.iter().filter_map(made).collect(),
            next: 0,
            answers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            left: journal.iter().filter_map(left).collect(),
            gates: BTreeMap::new(),
            past_return: None,
            hanging: BTreeMap::new(),
            resumed: 0,
            news: News::default(),
            fresh,
            halted: None,
        }
    }

    /// Does something for the first time, or finds that it was done; `None` when the run is halted.
    fn make(
        &mut self,
        deed: Deed<'_>,
        new: impl FnOnce(u32) -> serde_json::Result<(Entry, Option<Effect>)>,
    ) -> Option<u32> {
        let seq = self.claim(deed)?;
        if self.script.contains_key(&seq) {
            return Some(seq);
        }
        match new(seq) {
            Ok((entry, effect)) => {
                self.news.entries.push(entry);
                self.news.effects.extend(effect);
                Some(seq)
            }
            Err(error) => {
                self.halt(format!(
                    "{deed} at step {seq} cannot be written as JSON: {error}"
                ));
                None
            }
        }
    }

    /// Makes a call.
    pub(crate) fn call(
        &mut self,
        topic: &str,
        limit: Duration,
        encode: impl FnOnce() -> serde_json::Result<(Value, Option<Undo>)>,
    ) -> Option<u32> {
        let expiry = self.expiry();
        self.make(Deed::Call(topic), |seq| {
            let (data, undo) = encode()?;
            let topic = topic.to_owned();
            let effect = Effect::Send {
                seq,
                topic: topic.clone(),
                data,
                limit,
                expiry,
            };
            Ok((Entry::Called { seq, topic, undo }, Some(effect)))
        })
    }

    /// Makes the call at `of` again.
    pub(crate) fn call_again(
        &mut self,
        of: u32,
        topic: &str,
        limit: Duration,
        encode: impl FnOnce() -> serde_json::Result<Value>,
    ) -> Option<u32> {
        let expiry = self.expiry();
        self.make(Deed::Retry(of), |seq| {
            let effect = Effect::Send {
                seq,
                topic: topic.to_owned(),
                data: encode()?,
                limit,
                expiry,
            };
            Ok((Entry::Retried { seq, of }, Some(effect)))
        })
    }

    /// Starts a child saga.
    pub(crate) fn child(
        &mut self,
        saga: &str,
        limit: Option<Duration>,
        encode: impl FnOnce() -> serde_json::Result<Value>,
    ) -> Option<u32> {
        let expiry = self.expiry();
        self.make(Deed::Child(saga), |seq| {
            let (saga, input) = (saga.to_owned(), encode()?);
            let effect = Effect::Start {
                seq,
                saga: saga.clone(),
                input,
                limit,
                expiry,
            };
            Ok((Entry::Child { seq, saga }, Some(effect)))
        })
    }

    /// Starts the child saga at `of` again.
    pub(crate) fn child_again(
        &mut self,
        of: u32,
        saga: &str,
        limit: Option<Duration>,
        encode: impl FnOnce() -> serde_json::Result<Value>,
    ) -> Option<u32> {
        let expiry = self.expiry();
        self.make(Deed::Retry(of), |seq| {
            let effect = Effect::Start {
                seq,
                saga: saga.to_owned(),
                input: encode()?,
                limit,
                expiry,
            };
            Ok((Entry::Retried { seq, of }, Some(effect)))
        })
    }

    /// Waits before what was begun at `of` is tried again, for `longest` or a bit less.
    pub(crate) fn back_off(&mut self, of: u32, longest: Duration) -> Option<u32> {
        let after = self.fresh.jitter(longest);
        self.make(Deed::BackOff(of), |seq| {
            let effect = Effect::Wake { seq, after };
            Ok((Entry::BackedOff { seq, of }, Some(effect)))
        })
    }

    /// Waits for a signal.
    pub(crate) fn wait(&mut self, event: &str, key: Option<&str>, limit: Duration) -> Option<u32> {
        if let Some(key) = key.filter(|key| key.contains('\0')) {
            let why = Error::InvalidKey {
                key: key.to_owned(),
            };
            self.halt(format!("the code waits for `{event}`, and {why}"));
            return None;
        }
        self.make(Deed::Wait(event), |seq| {
            let (event, key) = (event.to_owned(), key.map(str::to_owned));
            let effect = Effect::Listen {
                seq,
                event: event.clone(),
                key: key.clone(),
                limit,
            };
            Ok((Entry::Waited { seq, event, key }, Some(effect)))
        })
    }

    /// Goes to sleep.
    pub(crate) fn sleep(&mut self, after: Duration) -> Option<u32> {
        self.make(Deed::Sleep, |seq| {
            Ok((Entry::Slept { seq }, Some(Effect::Wake { seq, after })))
        })
    }

    /// Sets a time to end by.
    pub(crate) fn deadline(&mut self, after: Duration) {
        self.make(Deed::Deadline, |seq| {
            Ok((
                Entry::Deadline { seq },
                Some(Effect::Deadline { seq, after }),
            ))
        });
    }

    /// Passes the point of no return.
    pub(crate) fn pass_return(&mut self) {
        let passed = self.make(Deed::PastReturn, |seq| {
            Ok((Entry::PastReturn { seq }, None))
        });
        self.past_return = self.past_return.or(passed);
    }

    /// For how long what is sent now is worth doing.
    fn expiry(&self) -> Expiry {
        match self.past_return {
            Some(_) => Expiry::Limit,
            None => Expiry::Deadline,
        }
    }

    /// Whether what is begun now is only ever tried again.
    pub(crate) fn has_passed_return(&self) -> bool {
        self.past_return.is_some()
    }

    /// Whether what was begun at `seq` is only ever tried again.
    pub(crate) fn is_past_return(&self, seq: u32) -> bool {
        self.past_return.is_some_and(|passed| seq > passed)
    }

    /// Whether to go the newer way at a gate: on new ground, or where that way was taken before.
    pub(crate) fn version(&mut self, name: &str) -> bool {
        if let Some(newer) = self.gates.get(name) {
            return *newer;
        }
        if self.halted.is_some() {
            return true;
        }
        let newer = match self.script.get(&self.next) {
            Some(_) => match self.gate_ahead(name) {
                Some(seq) => {
                    self.next = seq + 1;
                    true
                }
                None => false,
            },
            None => {
                let name = name.to_owned();
                self.make(Deed::Version(&name), |seq| {
                    let name = name.clone();
                    Ok((Entry::Versioned { seq, name }, None))
                });
                true
            }
        };
        self.gates.insert(name.to_owned(), newer);
        newer
    }

    /// Where the journal has the gate, among those that come next.
    fn gate_ahead(&self, name: &str) -> Option<u32> {
        let ahead = self.script.range(self.next..);
        let mut gates = ahead.map_while(|(seq, entry)| match entry {
            Entry::Versioned { name, .. } => Some((*seq, name)),
            _ => None,
        });
        gates.find_map(|(seq, gate)| (gate == name).then_some(seq))
    }

    /// The recorded value, or a fresh one, which is recorded.
    pub(crate) fn record<T: Serialize + DeserializeOwned>(
        &mut self,
        what: &str,
        fresh: impl FnOnce(&mut Fresh) -> T,
    ) -> T {
        let value = fresh(&mut self.fresh);
        let seq = self.make(Deed::Record(what), |seq| {
            let recorded = Entry::Recorded {
                seq,
                what: what.to_owned(),
                value: serde_json::to_value(&value)?,
            };
            Ok((recorded, None))
        });
        let recorded = seq.and_then(|seq| self.script.get(&seq));
        let Some(Entry::Recorded {
            seq, value: known, ..
        }) = recorded
        else {
            return value;
        };
        match T::deserialize(known) {
            Ok(known) => known,
            Err(error) => {
                self.halt(format!(
                    "the journal's {what} at step {seq} cannot be read: {error}"
                ));
                value
            }
        }
    }

    /// Takes the next place in the sequence, where the journal must hold the same deed or nothing yet.
    fn claim(&mut self, deed: Deed<'_>) -> Option<u32> {
        if self.halted.is_some() {
            return None;
        }
        // A gate that the code no longer has: all that came before it has ended.
        while let Some(Entry::Versioned { .. }) = self.script.get(&self.next) {
            self.next += 1;
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
            let misfit = misfit(seq, &recorded.to_string(), &deed.to_string());
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

    /// Nobody waits for `seq` any more.
    pub(crate) fn leave(&mut self, seq: u32) {
        self.waiting.remove(&seq);
        self.hanging.remove(&seq);
    }

    /// The code dropped what it began at `seq` before it heard of an answer. That is written down, for what was begun
    /// goes on.
    pub(crate) fn abandon(&mut self, seq: u32) {
        self.leave(seq);
        if self.halted.is_some() || !self.left.insert(seq) {
            return;
        }
        let listens =
            |effect: &Effect| matches!(effect, Effect::Listen { seq: at, .. } if *at == seq);
        self.news.effects.retain(|effect| !listens(effect));
        self.news.entries.push(Entry::Left { seq });
    }

    /// Says that what was begun at `of` was tried often enough. What else goes on does so.
    pub(crate) fn hang(&mut self, of: u32, why: String) {
        self.hanging.insert(of, why);
    }

    /// How often an operator had the saga go on.
    pub(crate) fn resumed(&self) -> u32 {
        self.resumed
    }

    /// An operator has the saga go on.
    pub(crate) fn resume(&mut self) {
        self.resumed += 1;
        for of in mem::take(&mut self.hanging).into_keys() {
            if let Some(waker) = self.waiting.remove(&of) {
                waker.wake();
            }
        }
    }

    /// Ends the run: the saga is to be parked for `reason`. The first reason is the one that counts.
    pub(crate) fn halt(&mut self, reason: String) {
        self.halted.get_or_insert(reason);
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// Whether the function waits for something that only an answer can bring.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Why the function cannot go on by itself, where that is so.
    pub(crate) fn hangs(&self) -> Option<&str> {
        self.hanging.values().next().map(String::as_str)
    }

    /// What the run has added, or why it was halted.
    pub(crate) fn finish(&mut self) -> Result<News, String> {
        if let Some((seq, deed)) = self.unclaimed() {
            let reason = misfit(seq, &deed.to_string(), "nothing more");
            self.halt(reason);
        }
        match self.halted.take() {
            Some(reason) => Err(reason),
            None => Ok(mem::take(&mut self.news)),
        }
    }

    fn unclaimed(&self) -> Option<(u32, Deed<'_>)> {
        let mut rest = self.script.range(self.next..);
        rest.find_map(|(seq, entry)| match entry.deed()? {
            Deed::Version(_) => None,
            deed => Some((*seq, deed)),
        })
    }
}

/// The two sides of a journal that does not fit, and what to do about it.
fn misfit(seq: u32, recorded: &str, actual: &str) -> String {
    format!(
        "step {seq} does not fit: the journal has {recorded}, the code has {actual}. \
         Keep the earlier way for sagas under way, behind `saga.version(..)`, and retry"
    )
}
