//! G5: whatever is answered, lost, repeated or late, a saga ends, and what is left of it is right.

mod stage;

use std::{
    collections::{BTreeMap, VecDeque},
    iter,
};

use futures::future::{join_all, try_join_all};
use outrigger_saga as saga;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use saga::{Definition, Entry, Failure, Input, Saga, step::Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Sent, Stage, act, undo};

/// A saga as data: stages one after the other, the steps of each in parallel.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Program {
    stages: Vec<Vec<Step>>,
    /// Whether the function fails of its own accord in the end.
    fails: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Step {
    name: String,
    has_undo: bool,
    /// Whether the function goes on when this fails.
    optional: bool,
    /// How many steps follow in this branch.
    then: u8,
    naps: bool,
}

impl Input for Program {
    const SAGA: &'static str = "program";
}

async fn run(saga: Saga, program: Program) -> Result<(), Failure> {
    for (number, stage) in program.stages.iter().enumerate() {
        let branches = stage.iter().map(|step| branch(&saga, step));
        // Both ways in which branches are run: to the end of all, or to the first failure.
        if number % 2 == 0 {
            try_join_all(branches).await?;
        } else {
            join_all(branches)
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
        }
    }
    if program.fails {
        return Err(Failure::new("of-its-own-accord", "no"));
    }
    Ok(())
}

async fn branch(saga: &Saga, step: &Step) -> Result<(), Failure> {
    for turn in 0..=step.then {
        if step.naps {
            saga.sleep(std::time::Duration::from_secs(1)).await;
        }
        let name = format!("{}{turn}", step.name);
        let id = saga.id();
        assert_eq!(id.get_version_num(), 7);
        let call = saga.call(act(&name));
        let result = if step.has_undo {
            call.undo(undo(&name)).await
        } else {
            call.await
        };
        if !step.optional {
            result?;
        }
    }
    Ok(())
}

fn step() -> impl Strategy<Value = Step> {
    (any::<(bool, bool)>(), 0..3_u8, prop::bool::weighted(0.2)).prop_map(
        |((has_undo, optional), then, naps)| Step {
            name: String::new(),
            has_undo,
            optional,
            then,
            naps,
        },
    )
}

fn program() -> impl Strategy<Value = Program> {
    let stages = prop::collection::vec(prop::collection::vec(step(), 1..4), 0..5);
    (stages, any::<bool>()).prop_map(|(mut stages, fails)| {
        for (number, step) in stages.iter_mut().flatten().enumerate() {
            step.name = format!("{number}.");
        }
        Program { stages, fails }
    })
}

/// The one participant: it handles commands in the order in which they were sent, each once.
#[derive(Default)]
struct Participant {
    queue: VecDeque<Sent>,
    replies: Vec<Entry>,
    /// What is done now. An undo that came first leaves a mark, by which its original is refused.
    state: BTreeMap<String, Mark>,
    undone: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mark {
    Done,
    Refused,
    Undone,
}

impl Participant {
    /// Handles the next command, or loses it as a dead letter.
    fn handle(&mut self, chance: u8) {
        let Some(Sent { seq, topic, data }) = self.queue.pop_front() else {
            return;
        };
        let name = data.as_str().expect("a name").to_owned();
        let refused = |code| Entry::Refused {
            seq,
            failure: Failure::new(code, "no"),
        };
        let done = Entry::Replied {
            seq,
            reply: json!(null),
        };
        let reply = if topic.ends_with(".undo") {
            match chance % 8 {
                0 => return,
                1 => refused("not-now"),
                _ => {
                    if self.state.insert(name.clone(), Mark::Undone) == Some(Mark::Done) {
                        self.undone.push(name);
                    }
                    done
                }
            }
        } else {
            match chance % 8 {
                0 => return,
                1 => {
                    self.state.insert(name, Mark::Refused);
                    refused("sold-out")
                }
                _ => {
                    let earlier = self.state.insert(name, Mark::Done);
                    assert_eq!(earlier, None, "each step is done once");
                    Entry::Replied {
                        seq,
                        reply: json!(seq),
                    }
                }
            }
        };
        self.replies.push(reply);
    }
}

/// Runs a saga in a world that follows `chances`; what becomes of it.
fn play(program: &Program, chances: &[u8]) -> (Stage, Participant) {
    let mut stage = Stage::start(Definition::of(run), program);
    let mut participant = Participant::default();
    let mut tail = StdRng::seed_from_u64(7);
    let mut chances = chances
        .iter()
        .copied()
        .chain(iter::repeat_with(|| tail.random()));
    let mut chance = || chances.next().expect("endless");
    for _ in 0..20_000 {
        participant.queue.extend(stage.sent.drain(..));
        match &stage.progress {
            Progress::Completed | Progress::Compensated(_) => return (stage, participant),
            Progress::Parked(reason) => {
                assert!(reason.starts_with("the undo "), "{reason}");
                stage.hear(Entry::Resumed);
                continue;
            }
            Progress::Running | Progress::Compensating(_) => {}
        }
        match chance() % 8 {
            0..3 => participant.handle(chance()),
            3..6 if !participant.replies.is_empty() => {
                let which = usize::from(chance()) % participant.replies.len();
                stage.hear(participant.replies.remove(which));
            }
            // It is delivered, and will be again.
            6 if !participant.replies.is_empty() => {
                let which = usize::from(chance()) % participant.replies.len();
                stage.hear(participant.replies[which].clone());
            }
            7 => {
                let begun = stage.journal.len() + 1;
                stage.elapse(u32::from(chance()) % begun as u32);
            }
            _ => {}
        }
    }
    panic!("it does not end: {:?}", stage.journal);
}

/// The commands whose outcome is known to the saga, in the order in which it heard; `None` of a time-out.
fn outcomes(journal: &[Entry]) -> Vec<(String, Option<bool>)> {
    let mut calls = BTreeMap::new();
    let mut outcomes = Vec::new();
    for entry in journal {
        if let Entry::Called {
            seq,
            undo: Some(undo),
            ..
        } = entry
        {
            calls.insert(*seq, undo.data.as_str().expect("a name").to_owned());
        }
        let (seq, outcome) = match entry {
            Entry::Replied { seq, .. } => (seq, Some(true)),
            Entry::Refused { seq, .. } => (seq, Some(false)),
            Entry::Elapsed { seq } => (seq, None),
            _ => continue,
        };
        if let Some(name) = calls.remove(seq) {
            outcomes.push((name, outcome));
        }
    }
    outcomes
}

/// The names in the order in which they were first undone.
fn undo_order(log: &[String]) -> Vec<&str> {
    let mut order: Vec<&str> = Vec::new();
    for name in log.iter().filter_map(|sent| sent.strip_prefix("undo ")) {
        if order.last() != Some(&name) {
            assert!(
                !order.contains(&name),
                "one at a time, each to its end: {log:?}"
            );
            order.push(name);
        }
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g5_sagas_end_and_leave_what_they_should(
        program in program(),
        chances in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (stage, mut participant) = play(&program, &chances);
        // What is still under way arrives at last: nothing of it may change how the saga ended.
        let length = stage.journal.len();
        let mut stage = stage;
        while !participant.queue.is_empty() {
            participant.handle(7);
        }
        for reply in participant.replies.drain(..) {
            prop_assert!(!stage.hear(reply));
        }
        prop_assert_eq!(stage.journal.len(), length);

        let outcomes = outcomes(&stage.journal);
        let compensated = matches!(stage.progress, Progress::Compensated(_));
        prop_assert!(compensated || !program.fails);
        let to_undo: Vec<&str> = outcomes
            .iter()
            .rev()
            .filter(|(_, outcome)| outcome.is_none() || (compensated && *outcome == Some(true)))
            .map(|(name, _)| name.as_str())
            .collect();
        if compensated {
            prop_assert_eq!(&undo_order(&stage.log), &to_undo, "in reverse");
        }
        // What the world looks like: whatever could be undone and had to be is not done any more.
        for name in to_undo {
            let state = participant.state.get(name);
            prop_assert_ne!(state, Some(&Mark::Done), "{} is left over", name);
        }
        for (name, outcome) in &outcomes {
            if !compensated && *outcome == Some(true) {
                prop_assert_eq!(participant.state.get(name), Some(&Mark::Done));
            }
        }
    }
}
