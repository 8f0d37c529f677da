//! Something that was sent, until it is answered: tried again as its policy says.

use std::task::{Context, Poll};

use serde_json::Value;

use crate::{
    Failure, Retry,
    run::{Answer, Run},
};

/// The attempts at one call, or at one child saga.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Their places in the sequence; the first one stands for all.
    seqs: Vec<u32>,
    /// How many there were since an operator last had it tried again.
    tried: u32,
    stage: Stage,
    /// Whether the function has heard how they ended.
    heard: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The last attempt is under way.
    Sent,
    /// The next attempt comes when the pause at this place is over.
    Pausing(u32),
    /// The next attempt comes when an operator says so more often than this.
    Hanging(u32),
    /// The run was halted.
    Never,
}

/// What the attempts are at, and how another one is made.
pub(crate) struct Errand<'a, F> {
    /// For people.
    pub(crate) name: &'a str,
    pub(crate) retry: &'a Retry,
    /// Sends it again; given the first attempt's place.
    pub(crate) again: F,
}

impl Attempts {
    pub(crate) fn first(seq: u32) -> Self {
        Self {
            seqs: vec![seq],
            tried: 1,
            stage: Stage::Sent,
            heard: false,
        }
    }

    /// The place of the first attempt.
    pub(crate) fn of(&self) -> u32 {
        self.seqs[0]
    }

    /// Stops waiting, for the function hears of the end.
    pub(crate) fn finish(&mut self, run: &mut Run) {
        self.heard = true;
        self.leave(run);
    }

    /// The function drops them, whether it has heard of the end or not.
    pub(crate) fn drop(&self, run: &mut Run) {
        self.leave(run);
        if !self.heard {
            run.abandon(self.of());
        }
    }

    fn leave(&self, run: &mut Run) {
        self.seqs.iter().for_each(|seq| run.leave(*seq));
        if let Stage::Pausing(pause) = self.stage {
            run.leave(pause);
        }
    }

    pub(crate) fn poll(
        &mut self,
        run: &mut Run,
        cx: &Context<'_>,
        mut errand: Errand<'_, impl FnMut(&mut Run, u32) -> Option<u32>>,
    ) -> Poll<Result<Value, Failure>> {
        let past_return = run.is_past_return(self.of());
        loop {
            let failure = match self.hear(run, cx, errand.name) {
                Some(Ok(reply)) => return Poll::Ready(Ok(reply)),
                Some(Err(failure)) => Some(failure),
                None => None,
            };
            match (self.stage, failure) {
                (Stage::Sent, Some(failure)) => {
                    let retry = match past_return {
                        true => errand.retry.forward(),
                        false => errand.retry.clone(),
                    };
                    if !past_return && !retry.is_transient(&failure) {
                        return Poll::Ready(Err(failure));
                    }
                    if self.tried < retry.attempts() {
                        self.stage = match run.back_off(self.of(), retry.pause(self.tried)) {
                            Some(seq) => Stage::Pausing(seq),
                            None => Stage::Never,
                        };
                    } else if past_return {
                        run.hang(self.of(), hanging(self, errand.name, &failure));
                        self.stage = Stage::Hanging(run.resumed());
                    } else {
                        return Poll::Ready(Err(failure));
                    }
                }
                // It came late, and says that there is nothing to be tried again.
                (Stage::Pausing(_), Some(failure))
                    if !past_return && !errand.retry.is_transient(&failure) =>
                {
                    return Poll::Ready(Err(failure));
                }
                (Stage::Pausing(pause), _) if run.answer(pause, cx).is_some() => {
                    self.send(run, &mut errand.again);
                }
                (Stage::Hanging(resumed), _) if run.resumed() > resumed => {
                    self.tried = 0;
                    self.send(run, &mut errand.again);
                }
                _ => return Poll::Pending,
            }
        }
    }

    fn send(&mut self, run: &mut Run, again: &mut impl FnMut(&mut Run, u32) -> Option<u32>) {
        if let Stage::Pausing(pause) = self.stage {
            run.leave(pause);
        }
        self.stage = match again(run, self.of()) {
            Some(seq) => {
                self.seqs.push(seq);
                self.tried += 1;
                Stage::Sent
            }
            None => Stage::Never,
        };
    }

    /// What was answered: a reply to any attempt, or why the last one failed.
    fn hear(&self, run: &mut Run, cx: &Context<'_>, name: &str) -> Option<Result<Value, Failure>> {
        let mut heard = None;
        for (number, seq) in self.seqs.iter().enumerate() {
            let is_last = number + 1 == self.seqs.len();
            match run.answer(*seq, cx) {
                Some(Answer::Replied(reply)) => return Some(Ok(reply)),
                Some(Answer::Refused(failure)) if is_last => heard = Some(Err(failure)),
                Some(Answer::Elapsed) if is_last => heard = Some(Err(Failure::timeout(name))),
                // An earlier attempt failed late: the last one decides. Its reply would still count.
                Some(_) => _ = run.answer(*seq, cx),
                None => {}
            }
        }
        heard
    }
}

fn hanging(attempts: &Attempts, name: &str, failure: &Failure) -> String {
    let (of, times) = (attempts.of(), attempts.tried);
    format!(
        "step {of}, `{name}`, is past the point of no return and failed {times} times, at last with {failure}: \
         retry it, or skip it"
    )
}
