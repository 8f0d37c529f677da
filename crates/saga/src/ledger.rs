//! How it stands with each thing that a saga began, read off its journal in one pass. Pure.

use std::collections::BTreeMap;

use crate::{
    Failure,
    journal::{Entry, Undo},
};

/// What a journal says, by what was begun.
#[derive(Debug, Default)]
pub(crate) struct Ledger<'a> {
    /// Calls and child sagas, by the place of their first attempt.
    pub(crate) errands: BTreeMap<u32, Errand<'a>>,
    /// Of each further attempt, and each pause before one, the first attempt.
    attempts: BTreeMap<u32, u32>,
    /// Sleeps, pauses, waits for signals and deadlines: whether they are over.
    waits: BTreeMap<u32, Wait>,
    undos: BTreeMap<u32, Sent>,
    past_return: Option<u32>,
    has_unreadable: bool,
    /// Whether the function is not run any more, and why it failed, if it did.
    pub(crate) end: Option<Option<Failure>>,
}

/// Something that somebody else is to do.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    /// How it is taken back; `None` where it need not be.
    pub(crate) undo: Option<Way<'a>>,
    attempts: Vec<(u32, Sent)>,
    pausing: bool,
    /// The line of the journal that says that the code does not wait for it.
    left: Option<usize>,
    /// Whether it is being undone, or was: no answer matters then.
    undoing: bool,
    /// The line of the journal that says that it is done.
    done: Option<usize>,
    /// The line with its latest answer.
    answered: usize,
}

/// How something is taken back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way<'a> {
    /// By a command.
    Command(&'a Undo),
    /// The child saga that was started there undoes itself.
    Child(u32),
}

/// What is known of something that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Unanswered,
    Elapsed,
    Refused,
    Done,
}

#[derive(Debug)]
struct Wait {
    kind: WaitKind,
    over: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum WaitKind {
    Time,
    Signal,
    Deadline,
}

/// What became of an errand, as far as undoing it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// An answer is still to come.
    Open,
    /// It was done, which the journal's line says.
    Done(usize),
    /// It may have been done, or may yet be; the line is that of the last answer.
    Unknown(usize),
    /// It was refused, whenever it was tried.
    Refused,
}

impl<'a> Ledger<'a> {
    pub(crate) fn of(journal: &'a [Entry]) -> Self {
        let mut ledger = Self::default();
        for (line, entry) in journal.iter().enumerate() {
            ledger.enter(line, entry);
        }
        ledger
    }

    fn enter(&mut self, line: usize, entry: &'a Entry) {
        // Kept while the journal could not be read, and no news after all.
        if !self.awaits(entry) {
            return;
        }
        match entry {
            Entry::Called { seq, undo, .. } => {
                self.begin(*seq, undo.as_ref().map(Way::Command));
            }
            Entry::Child { seq, .. } => self.begin(*seq, Some(Way::Child(*seq))),
            Entry::Retried { seq, of } => {
                self.attempts.insert(*seq, *of);
                if let Some(errand) = self.errands.get_mut(of) {
                    errand.attempts.push((*seq, Sent::Unanswered));
                    errand.pausing = false;
                    // It is another child, and the one before was refused: it has undone itself.
                    if let Some(Way::Child(latest)) = &mut errand.undo {
                        *latest = *seq;
                    }
                }
            }
            Entry::BackedOff { seq, of } => {
                self.wait(*seq, WaitKind::Time);
                if let Some(errand) = self.errands.get_mut(of) {
                    errand.pausing = true;
                }
            }
            Entry::Waited { seq, .. } => self.wait(*seq, WaitKind::Signal),
            Entry::Slept { seq } => self.wait(*seq, WaitKind::Time),
            Entry::Deadline { seq } => self.wait(*seq, WaitKind::Deadline),
            Entry::PastReturn { seq } => _ = self.past_return.get_or_insert(*seq),
            Entry::Left { seq } => self.leave(line, *seq),
            Entry::Undoing { seq, of } => {
                self.undos.insert(*seq, Sent::Unanswered);
                if let Some(errand) = self.errands.get_mut(of) {
                    errand.undoing = true;
                }
            }
            Entry::Replied { seq, .. } | Entry::Signalled { seq, .. } => {
                self.answer(line, *seq, Sent::Done);
            }
            Entry::Skipped { seq, .. } => self.answer(line, *seq, Sent::Done),
            // Whoever answers so does not know either.
            Entry::Refused { seq, failure } if failure.is_unknown() => {
                self.answer(line, *seq, Sent::Elapsed);
            }
            Entry::Refused { seq, .. } => self.answer(line, *seq, Sent::Refused),
            Entry::Elapsed { seq } => {
                self.answer(line, *seq, Sent::Elapsed);
                let deadline = |wait: &Wait| wait.kind == WaitKind::Deadline;
                if self.waits.get(seq).is_some_and(deadline) {
                    self.interrupt(Failure::deadline());
                }
            }
            Entry::Ended { failure } => _ = self.end.get_or_insert_with(|| failure.clone()),
            Entry::Overdue => self.interrupt(Failure::deadline()),
            Entry::Cancelled { failure } => self.interrupt(failure.clone()),
            Entry::Unreadable { .. } => self.has_unreadable = true,
            Entry::Versioned { .. } | Entry::Recorded { .. } | Entry::Resumed => {}
        }
    }

    fn begin(&mut self, seq: u32, undo: Option<Way<'a>>) {
        let errand = Errand {
            undo,
            attempts: vec![(seq, Sent::Unanswered)],
            pausing: false,
            left: None,
            undoing: false,
            done: None,
            answered: 0,
        };
        self.errands.insert(seq, errand);
        self.attempts.insert(seq, seq);
    }

    fn wait(&mut self, seq: u32, kind: WaitKind) {
        self.waits.insert(seq, Wait { kind, over: false });
    }

    fn leave(&mut self, line: usize, seq: u32) {
        if let Some(wait) = self.waits.get_mut(&seq) {
            wait.over = true;
        }
        if let Some(errand) = self.errands.get_mut(&seq) {
            errand.left = Some(line);
        }
    }

    fn answer(&mut self, line: usize, seq: u32, answer: Sent) {
        if let Some(wait) = self.waits.get_mut(&seq) {
            wait.over = true;
        }
        if let Some(undo) = self.undos.get_mut(&seq) {
            *undo = answer;
        }
        let Some(errand) = self
            .attempts
            .get(&seq)
            .and_then(|of| self.errands.get_mut(of))
        else {
            return;
        };
        if let Some((_, sent)) = errand.attempts.iter_mut().find(|(made, _)| *made == seq) {
            *sent = answer;
        }
        errand.answered = line;
        if answer == Sent::Done {
            errand.done = Some(line);
        }
    }

    /// Ends the run of the function from outside; a success that is taken back is a failure. Past the point of no
    /// return it is too late.
    fn interrupt(&mut self, failure: Failure) {
        if self.past_return.is_none() && !matches!(self.end, Some(Some(_))) {
            self.end = Some(Some(failure));
        }
    }

    /// Whether `answer` says anything new.
    pub(crate) fn awaits(&self, answer: &Entry) -> bool {
        if self.has_unreadable {
            return true;
        }
        if *answer == Entry::Overdue {
            return self.may_be_overdue();
        }
        let Some(seq) = answer.answers() else {
            return true;
        };
        if let Some(of) = self.attempts.get(&seq) {
            let errand = self.errands.get(of);
            return errand.is_some_and(|errand| self.awaits_of(*of, errand, seq, answer));
        }
        if let Some(wait) = self.waits.get(&seq) {
            return !wait.over && self.awaits_in(wait, answer);
        }
        // That an undo took its time does not make it undone: an answer counts whenever it comes.
        matches!(
            (self.undos.get(&seq), answer),
            (Some(Sent::Unanswered), _)
                | (
                    Some(Sent::Elapsed),
                    Entry::Replied { .. } | Entry::Refused { .. }
                )
                | (Some(Sent::Elapsed | Sent::Refused), Entry::Skipped { .. })
        )
    }

    fn awaits_in(&self, wait: &Wait, answer: &Entry) -> bool {
        match (&wait.kind, answer) {
            (_, Entry::Skipped { .. }) => true,
            (WaitKind::Deadline, Entry::Elapsed { .. }) => self.may_be_overdue(),
            (_, Entry::Elapsed { .. }) => true,
            (WaitKind::Signal, Entry::Signalled { .. }) => true,
            _ => false,
        }
    }

    /// Whether a deadline means anything to it.
    fn may_be_overdue(&self) -> bool {
        self.end.is_none() && self.past_return.is_none()
    }

    fn awaits_of(&self, of: u32, errand: &Errand<'_>, seq: u32, answer: &Entry) -> bool {
        let sent = errand.attempts.iter().find(|(made, _)| *made == seq);
        let Some((_, sent)) = sent.filter(|_| errand.done.is_none() && !errand.undoing) else {
            return false;
        };
        // While it is tried again, the answer to an earlier attempt is as good as any.
        let is_tried = self.end.is_none() && errand.left.is_none();
        let goes_on = is_tried && (errand.pausing || self.is_past_return(of));
        let open = errand.in_flight() || goes_on;
        match answer {
            Entry::Replied { .. } => open,
            Entry::Refused { .. } => open && matches!(sent, Sent::Unanswered | Sent::Elapsed),
            Entry::Elapsed { .. } => *sent == Sent::Unanswered,
            Entry::Skipped { .. } => open,
            _ => false,
        }
    }

    /// Whether what was begun at `seq` is only ever tried again.
    fn is_past_return(&self, seq: u32) -> bool {
        self.past_return.is_some_and(|passed| seq > passed)
    }

    /// What has a timer that has not fired, or may have.
    pub(crate) fn timed(&self) -> impl Iterator<Item = u32> {
        let unanswered = |(seq, sent): (&u32, &Sent)| (*sent == Sent::Unanswered).then_some(*seq);
        let errands = self.errands.values();
        let sent = errands.flat_map(|errand| &errand.attempts);
        let sent = sent.filter_map(move |(seq, sent)| unanswered((seq, sent)));
        let undos = self.undos.iter().filter_map(unanswered);
        let waits = self.waits.iter().filter(|(_, wait)| !wait.over);
        sent.chain(undos).chain(waits.map(|(seq, _)| *seq))
    }

    /// Whether a signal may still be kept for the saga.
    pub(crate) fn listens(&self) -> bool {
        let listening = |wait: &Wait| wait.kind == WaitKind::Signal && !wait.over;
        self.waits.values().any(listening)
    }
}

impl Errand<'_> {
    fn in_flight(&self) -> bool {
        let last = self.attempts.last();
        last.is_some_and(|(_, sent)| *sent == Sent::Unanswered)
    }

    /// Whether it is being undone, or was.
    pub(crate) fn is_being_undone(&self) -> bool {
        self.undoing
    }

    /// The line of the journal that says that the code does not wait for it.
    pub(crate) fn left(&self) -> Option<usize> {
        self.left
    }

    pub(crate) fn standing(&self) -> Standing {
        let elapsed = |(_, sent): &(u32, Sent)| *sent == Sent::Elapsed;
        match self.done {
            Some(line) => Standing::Done(line),
            None if self.in_flight() => Standing::Open,
            None if self.attempts.iter().any(elapsed) => Standing::Unknown(self.answered),
            None => Standing::Refused,
        }
    }
}
