//! The machine of a breaker, shared: what is asked on every call is kept in atomics beside it.
//!
//! A call that enters a closed breaker costs one load, and a success that follows no failure costs two loads and one
//! addition; the lock is for everything else. Successes are counted aside and brought into the window by every
//! [`BATCH`]th of them and by whatever else takes the lock, so that a success does not read the clock. The window may
//! so take up to [`BATCH`] successes for younger than they are.
//!
//! The file is compiled a second time by `tests/loom.rs`, with the atomics of loom.

use std::time::Duration;

use env::Instant;

use super::{
    machine::{Machine, State, Ticket},
    sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError},
};

/// So many successes are counted before one of them reads the clock.
pub(crate) const BATCH: u32 = 32;

/// See the [module](self).
pub(crate) struct Gate {
    /// The number of the ticket of this phase, and in the lowest bit whether the machine must be asked.
    word: AtomicU64,
    /// Whether a success must end a row of failures.
    failing: AtomicBool,
    /// Successes that are not in the window yet.
    pending: AtomicU32,
    /// From when a call would be let through that the word does not, in nanoseconds since `origin`.
    opens: AtomicU64,
    origin: Instant,
    /// Whether there is a window to bring them into.
    windowed: bool,
    machine: Mutex<Machine>,
}

impl Gate {
    pub(crate) fn new(machine: Machine, origin: Instant) -> Self {
        Self {
            opens: AtomicU64::new(0),
            origin,
            word: AtomicU64::new(word(&machine)),
            failing: AtomicBool::new(false),
            pending: AtomicU32::new(0),
            windowed: machine.counts_successes(),
            machine: Mutex::new(machine),
        }
    }

    /// The ticket of the phase, if calls pass without asking further.
    pub(crate) fn pass(&self) -> Option<Ticket> {
        let word = self.word.load(Ordering::Acquire);
        (word & 1 == 0).then(|| Ticket::numbered(word >> 1))
    }

    /// Counts a success without the lock, if that is possible: the phase is the same and no failure came before.
    /// Otherwise, and once in a batch, the machine is to be told.
    pub(crate) fn counted(&self, ticket: Ticket) -> Counted {
        let same = self.word.load(Ordering::Acquire) == ticket.number() << 1;
        if !same || self.failing.load(Ordering::Acquire) {
            return Counted::Not;
        }
        if self.windowed && self.pending.fetch_add(1, Ordering::Relaxed) % BATCH == BATCH - 1 {
            return Counted::BatchIsFull;
        }
        Counted::Done
    }

    /// Lets the machine `act` at `now`; `told` hears of a change of state, in the order of the changes.
    pub(crate) fn with<T>(
        &self,
        now: Instant,
        act: impl FnOnce(&mut Machine) -> T,
        told: impl FnOnce(State, State),
    ) -> T {
        let mut machine = self.lock();
        if self.windowed {
            machine.succeeded_before(self.pending.swap(0, Ordering::Relaxed), now);
        }
        let (before, ticket) = (machine.state(), machine.ticket());
        let outcome = act(&mut machine);
        self.failing.store(machine.is_failing(), Ordering::Release);
        let opens = machine.opens(now);
        let opens = opens.map_or(u64::MAX, |opens| self.since_origin(opens));
        self.opens.store(opens, Ordering::Relaxed);
        if ticket != machine.ticket() {
            self.word.store(word(&machine), Ordering::Release);
            if before != machine.state() {
                told(before, machine.state());
            }
        }
        outcome
    }

    /// Whether a call would be let through at `now`, without the lock: of two that ask, one may still be refused.
    pub(crate) fn is_available(&self, now: impl FnOnce() -> Instant) -> bool {
        self.pass().is_some() || self.opens.load(Ordering::Relaxed) <= self.since_origin(now())
    }

    fn since_origin(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.origin);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX - 1)
    }

    /// How long a call would wait at `now`.
    pub(crate) fn wait(&self, now: impl FnOnce() -> Instant) -> Duration {
        match self.pass() {
            Some(_) => Duration::ZERO,
            None => self.lock().wait(now()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // The machine is whole between any two of its steps.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Gate::counted`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Done,
    /// It is counted, and the window should be brought up to date.
    BatchIsFull,
    Not,
}

fn word(machine: &Machine) -> u64 {
    machine.ticket().number() << 1 | u64::from(machine.state() != State::Closed)
}
