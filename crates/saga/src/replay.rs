//! Running a function over its journal, from its beginning to where it waits.
//!
//! The answers are revealed one by one, in the order of the journal, and the function is polled after each. So the
//! branches of a `join!` take their turns as they did the first time, and each finds its place in the sequence again.

use std::{
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
    /// It waits for an operator, for this reason, and maybe for answers too.
    Hanging(String),
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
        if tell(&saga, entry) {
            result = poll(&saga, &mut running)?;
        }
    }

    let mut run = saga.run();
    let news = run.finish()?;
    let end = match (result, run.hangs()) {
        (Some(result), _) => End::Returned(result),
        (None, Some(why)) => End::Hanging(why.to_owned()),
        (None, None) if run.is_waiting() => End::Waiting,
        (None, None) => return Err(foreign(name)),
    };
    Ok((end, news))
}

fn foreign(name: &str) -> String {
    format!(
        "the code of `{name}` waits for something that is none of its steps, and would wait for ever: a saga awaits \
         only what its handle gives. Move what talks to the outside into the handler of a command, and wait with \
         `saga.sleep`, `saga.wait_for` or a time limit of the step"
    )
}

/// Lets the function hear of what is in the journal; whether that was anything to it.
fn tell(saga: &Saga, entry: &Entry) -> bool {
    let mut run = saga.run();
    let (seq, answer) = match entry {
        Entry::Replied { seq, reply } => (seq, Answer::Replied(reply.clone())),
        Entry::Signalled { seq, data } => (seq, Answer::Replied(data.clone())),
        Entry::Skipped { seq, reply, .. } => (seq, Answer::Replied(reply.clone())),
        Entry::Refused { seq, failure } => (seq, Answer::Refused(failure.clone())),
        Entry::Elapsed { seq } => (seq, Answer::Elapsed),
        Entry::Resumed => {
            run.resume();
            return true;
        }
        _ => return false,
    };
    run.reveal(*seq, answer);
    true
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

/// What would be otherwise in every replay parks the saga, and so does a panic, which would come again in each.
fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    let (done, asked) = env::pure::watch(|| catch_unwind(AssertUnwindSafe(act)));
    let done = done.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("the code panicked: {}", text.unwrap_or("without a message"))
    })?;
    asked.map_or(Ok(done), |what| Err(impure(what)))
}

fn impure(what: &str) -> String {
    let instead = match what {
        "env::now" | "env::instant" => "use `saga.now()`",
        "env::id" => "use `saga.id()`",
        "env::random" => "use `saga.random()`",
        _ => "move what talks to the outside into the handler of a command",
    };
    format!("the code uses `{what}`, but must do the same in every run: {instead}")
}

/// Remembers that somebody asked to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
