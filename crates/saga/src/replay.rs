//! Running a function over its journal, from its beginning to where it waits.
//!
//! The answers are revealed one by one, in the order of the journal, and the function is polled after each. So the
//! branches of a `join!` take their turns as they did the first time, and each finds its place in the sequence again.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    Definition, Failure, Saga,
    definition::Running,
    journal::Entry,
    run::{Answer, Fresh, News, Run},
};

/// How often a function may ask to be polled again before an answer comes.
const POLL_LIMIT: usize = 10_000;

/// Where a function came to.
pub(crate) enum End {
    /// It waits for an answer.
    Waiting,
    /// It returned.
    Returned(Result<(), Failure>),
}

/// Runs the function. What comes is what it did for the first time; the error is why its saga must be parked.
pub(crate) fn replay(
    definition: &Definition,
    input: &str,
    journal: &[Entry],
    fresh: Fresh,
) -> Result<(End, News), String> {
    let saga = Saga::new(Run::new(journal, fresh));
    let name = definition.name();
    let mut running = guarded(|| definition.start(saga.clone(), input))?
        .map_err(|error| format!("the input cannot be read as that of `{name}`: {error}"))?;

    let mut result = poll(&saga, &mut running)?;
    for entry in journal {
        if result.is_some() || saga.run().is_halted() {
            break;
        }
        if let Some((seq, answer)) = answer(entry) {
            saga.run().reveal(seq, answer);
            result = poll(&saga, &mut running)?;
        }
    }

    let news = saga.run().finish()?;
    match result {
        Some(result) => Ok((End::Returned(result), news)),
        None if waits(journal, &news) => Ok((End::Waiting, news)),
        None => Err("the code waits for something that is none of its steps: \
                     await only what the saga's handle gives"
            .to_owned()),
    }
}

fn answer(entry: &Entry) -> Option<(u32, Answer)> {
    match entry {
        Entry::Replied { seq, reply } => Some((*seq, Answer::Replied(reply.clone()))),
        Entry::Refused { seq, failure } => Some((*seq, Answer::Refused(failure.clone()))),
        Entry::Elapsed { seq } => Some((*seq, Answer::Elapsed)),
        _ => None,
    }
}

/// Polls until the function has returned, or sleeps.
fn poll(saga: &Saga, running: &mut Running) -> Result<Option<Result<(), Failure>>, String> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..POLL_LIMIT {
        woken.0.store(false, Ordering::Relaxed);
        match guarded(|| running.as_mut().poll(&mut cx))? {
            Poll::Ready(result) => return Ok(Some(result)),
            Poll::Pending if saga.run().is_halted() || !woken.0.load(Ordering::Relaxed) => {
                return Ok(None);
            }
            // Executors within the function, such as `FuturesUnordered`, ask for another turn.
            Poll::Pending => {}
        }
    }
    Err("the code asks to be polled without end".to_owned())
}

/// Whether an answer is still to come: to a call or a sleep that has none yet.
fn waits(journal: &[Entry], news: &News) -> bool {
    let answered: BTreeSet<u32> = journal.iter().filter_map(Entry::answers).collect();
    let mut begun = journal
        .iter()
        .chain(&news.entries)
        .filter_map(|entry| match entry {
            Entry::Called { seq, .. } | Entry::Slept { seq } => Some(*seq),
            _ => None,
        });
    begun.any(|seq| !answered.contains(&seq))
}

/// A panic parks the saga: it would come again with every replay.
fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("the code panicked: {}", text.unwrap_or("without a message"))
    })
}

/// Remembers that somebody asked to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
