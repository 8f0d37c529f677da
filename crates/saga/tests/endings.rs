//! G5: whatever is answered, lost, repeated, late, skipped or cancelled, a saga ends, and what is left of it is right.
//! And whatever part of its journal is replayed, it goes on as it did.

mod stage;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    iter,
    time::Duration,
};

use events::{JsonSchema, schemars};
use futures::{
    TryFutureExt,
    future::{Either, join_all, select, try_join_all},
};
use outrigger_saga as saga;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use saga::{
    Definition, Entry, Failure, Input, Retry, Saga, journal,
    run::Fresh,
    step::{self, Progress},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Sent, Stage, act, undo};

/// A saga as data: stages one after the other, the steps of each in parallel.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Program {
    stages: Vec<Vec<Step>>,
    /// How many stages come before the point of no return.
    pivot: Option<usize>,
    has_deadline: bool,
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
    /// Whether the function goes on without an answer when that takes too long.
    impatient: bool,
    /// How often it is tried.
    tries: u32,
    before: Before,
}

/// What a branch does before its step.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Before {
    Nothing,
    Nap,
    /// Waits for a signal, or until it has waited long enough.
    Listen,
    /// Starts a child saga.
    Child,
}

#[derive(Serialize, Deserialize, JsonSchema, events::Event)]
#[event("bell.rung", version = 1, key = bell, crate = events)]
struct Rung {
    bell: String,
}

impl Input for Program {
    const SAGA: &'static str = "program";
}

async fn run(saga: Saga, program: Program) -> Result<(), Failure> {
    if program.has_deadline {
        saga.deadline(Duration::from_mins(1));
    }
    for (number, stage) in program.stages.iter().enumerate() {
        if program.pivot == Some(number) {
            saga.point_of_no_return();
        }
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
    if program.fails
        && program
            .pivot
            .is_none_or(|pivot| pivot >= program.stages.len())
    {
        return Err(Failure::new("of-its-own-accord", "no"));
    }
    Ok(())
}

async fn branch(saga: &Saga, step: &Step) -> Result<(), Failure> {
    for turn in 0..=step.then {
        match step.before {
            Before::Nothing => {}
            Before::Nap => saga.sleep(Duration::from_secs(1)).await,
            Before::Listen => drop(saga.wait_for::<Rung>().await),
            Before::Child => {
                let empty = Program {
                    stages: Vec::new(),
                    pivot: None,
                    has_deadline: false,
                    fails: false,
                };
                let result = wait(saga, step, saga.child(empty)).await;
                if !step.optional {
                    result?;
                }
            }
        }
        let name = format!("{}{turn}", step.name);
        let id = saga.id();
        assert_eq!(id.get_version_num(), 7);
        let retry = Retry::times(step.tries).after("sold-out");
        let call = saga.call(act(&name)).retry(retry);
        let call = match step.has_undo {
            true => call.undo(undo(&name)),
            false => call,
        };
        let result = wait(saga, step, call.map_ok(drop)).await;
        if !step.optional {
            result?;
        }
    }
    Ok(())
}

/// Waits for an answer, or at most for a nap.
async fn wait<F>(saga: &Saga, step: &Step, answer: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Unpin,
{
    if !step.impatient {
        return answer.await;
    }
    match select(answer, saga.sleep(Duration::from_secs(1))).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => Ok(()),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let before = prop_oneof![
        6 => Just(Before::Nothing),
        1 => Just(Before::Nap),
        1 => Just(Before::Listen),
        1 => Just(Before::Child),
    ];
    let impatient = prop::bool::weighted(0.25);
    (any::<(bool, bool)>(), impatient, 0..3_u8, 1..4_u32, before).prop_map(
        |((has_undo, optional), impatient, then, tries, before)| Step {
            name: String::new(),
            has_undo,
            optional,
            impatient,
            then,
            tries,
            before,
        },
    )
}

fn program() -> impl Strategy<Value = Program> {
    let stages = prop::collection::vec(prop::collection::vec(step(), 1..4), 0..5);
    let pivot = prop::option::weighted(0.3, 0..5_usize);
    (stages, pivot, any::<(bool, bool)>()).prop_map(|(mut stages, pivot, (has_deadline, fails))| {
        for (number, step) in stages.iter_mut().flatten().enumerate() {
            step.name = format!("{number}.");
        }
        Program {
            stages,
            pivot,
            has_deadline,
            fails,
        }
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
        let name = match topic.as_str() {
            "listen" => {
                let data = json!({ "bell": "any" });
                return self.replies.push(Entry::Signalled { seq, data });
            }
            "start" | "revert" => format!("child {}", data.as_str().expect("a step")),
            _ => data.as_str().expect("a name").to_owned(),
        };
        let refused = |code| Entry::Refused {
            seq,
            failure: Failure::new(code, "no"),
        };
        let done = Entry::Replied {
            seq,
            reply: json!(null),
        };
        let reply = if topic.ends_with(".undo") || topic == "revert" {
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
                // What is done already stays so, however often it is asked for.
                1 if self.state.get(&name) != Some(&Mark::Done) => {
                    self.state.insert(name, Mark::Refused);
                    refused("sold-out")
                }
                _ => {
                    let earlier = self.state.insert(name, Mark::Done);
                    assert_ne!(
                        earlier,
                        Some(Mark::Undone),
                        "nothing is done after its undo"
                    );
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
        let first = |seq: u32| {
            let retried = stage.journal.iter().find_map(|entry| match entry {
                Entry::Retried { seq: at, of } if *at == seq => Some(*of),
                _ => None,
            });
            retried.unwrap_or(seq)
        };
        // All attempts at a child are one to the participant.
        let named = |sent: Sent| {
            let seq = match sent.topic.as_str() {
                "start" => sent.seq,
                "revert" => sent
                    .data
                    .as_str()
                    .and_then(|of| of.parse().ok())
                    .expect("a step"),
                _ => return sent,
            };
            Sent {
                data: json!(first(seq).to_string()),
                ..sent
            }
        };
        participant.queue.extend(stage.sent.drain(..).map(named));
        match &stage.progress {
            Progress::Completed | Progress::Compensated(_) => return (stage, participant),
            Progress::Parked(reason) => {
                let known = ["the undo ", "undoing the child ", "step "];
                assert!(
                    known.iter().any(|known| reason.starts_with(known)),
                    "{reason}"
                );
                if chance() % 2 == 0 {
                    stage.hear(Entry::Resumed);
                    continue;
                }
            }
            Progress::Running | Progress::Compensating(_) => {}
        }
        match chance() % 64 {
            60 if !journal::is_past_return(&stage.journal) => _ = stage.cancel(),
            61 => {
                let mut calls = stage.journal.iter().filter_map(called);
                if let Some(seq) = calls.nth(usize::from(chance()) % 4) {
                    stage.skip(seq, json!(0));
                }
            }
            kind => match kind % 8 {
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
                    let made = || stage.journal.iter().filter_map(Entry::made_at);
                    let is_open =
                        |seq: &u32| !stage.journal.contains(&Entry::Elapsed { seq: *seq });
                    // Mostly what has not elapsed yet: a large program would take for ever to meet it by chance.
                    let timers: Vec<u32> = match chance() % 8 {
                        0 => made().collect(),
                        _ => made().filter(is_open).collect(),
                    };
                    if !timers.is_empty() {
                        stage.elapse(timers[usize::from(chance()) % timers.len()]);
                    }
                }
                _ => {}
            },
        }
    }
    panic!("it does not end: {:?}", stage.journal);
}

fn called(entry: &Entry) -> Option<u32> {
    match entry {
        Entry::Called { seq, .. } => Some(*seq),
        _ => None,
    }
}

/// What became of something that can be undone, as the saga has heard.
#[derive(Debug)]
struct Outcome {
    name: String,
    /// Which line of the journal decided.
    line: usize,
    replied: bool,
    skipped: bool,
    /// Whether the function went on without an answer.
    left: bool,
    /// Attempts that did not answer.
    silent: BTreeSet<u32>,
    /// Attempts that may yet.
    open: BTreeSet<u32>,
}

/// All of them, in the order in which it was decided.
fn outcomes(journal: &[Entry]) -> Vec<Outcome> {
    let (mut outcomes, mut roots) = (BTreeMap::new(), BTreeMap::new());
    for (line, entry) in journal.iter().enumerate() {
        let name = match entry {
            Entry::Called { undo, .. } => undo.as_ref().and_then(|undo| undo.data.as_str()),
            Entry::Child { .. } => Some("child"),
            _ => None,
        };
        if let (Some(name), Some(seq)) = (name, entry.made_at()) {
            let name = match name {
                "child" => format!("child {seq}"),
                name => name.to_owned(),
            };
            roots.insert(seq, seq);
            outcomes.insert(
                seq,
                Outcome {
                    name,
                    line,
                    replied: false,
                    skipped: false,
                    left: false,
                    silent: BTreeSet::new(),
                    open: BTreeSet::from([seq]),
                },
            );
        }
        if let Entry::Retried { seq, of } = entry {
            roots.insert(*seq, *of);
            if let Some(outcome) = outcomes.get_mut(of) {
                outcome.open = BTreeSet::from([*seq]);
            }
        }
        if let Entry::Left { seq } = entry
            && let Some(outcome) = outcomes.get_mut(seq)
        {
            outcome.left = true;
        }
        let root = entry.answers().and_then(|seq| roots.get(&seq));
        let Some(outcome) = root.and_then(|root| outcomes.get_mut(root)) else {
            continue;
        };
        outcome.line = line;
        match entry {
            Entry::Replied { .. } => outcome.replied = true,
            Entry::Skipped { .. } => outcome.skipped = true,
            Entry::Elapsed { seq } => {
                outcome.open.remove(seq);
                outcome.silent.insert(*seq);
            }
            Entry::Refused { seq, .. } => {
                outcome.open.remove(seq);
                outcome.silent.remove(seq);
            }
            _ => {}
        }
    }
    let mut outcomes: Vec<_> = outcomes.into_values().collect();
    outcomes.sort_by_key(|outcome| outcome.line);
    outcomes
}

/// The names in the order in which they were first undone.
fn undo_order(log: &[String]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for sent in log {
        let name = match sent.split_once(' ') {
            Some(("undo", name)) => name.to_owned(),
            Some(("revert", of)) => format!("child {of}"),
            _ => continue,
        };
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

/// How an entry looks when what was drawn by chance is left out.
fn without_chance(entry: &Entry) -> Entry {
    match entry.clone() {
        Entry::Recorded { seq, what, .. } => Entry::Recorded {
            seq,
            what,
            value: json!(null),
        },
        entry => entry,
    }
}

/// Replays what follows from each answer, and from each part of that; what is sent on the way.
fn replayed(stage: &Stage) -> Vec<String> {
    let is_made = |entry: &Entry| {
        entry.made_at().is_some() || matches!(entry, Entry::Ended { .. } | Entry::Left { .. })
    };
    let fresh = || Fresh::of(env::Timestamp::UNIX_EPOCH, [9; 32]);
    let mut sent = Vec::new();
    let mut known = 0;
    loop {
        let made = stage.journal[known..]
            .iter()
            .take_while(|entry| is_made(entry));
        let end = known + made.count();
        for part in known..=end {
            let (definition, journal) = (&stage.definition, &stage.journal[..part]);
            let step = step::step(definition, &stage.input, journal, fresh());
            let made: Vec<Entry> = step.entries.iter().map(without_chance).collect();
            let rest: Vec<Entry> = stage.journal[part..end]
                .iter()
                .map(without_chance)
                .collect();
            assert_eq!(made, rest, "{part} of {:?}", stage.journal);
            if part == known {
                sent.extend(step.effects.into_iter().filter_map(Sent::of));
            }
        }
        if end == stage.journal.len() {
            return sent.iter().map(Sent::name).collect();
        }
        known = end + 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g5_sagas_end_and_leave_what_they_should(
        program in program(),
        chances in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (mut stage, mut participant) = play(&program, &chances);
        // What is still under way arrives at last: nothing of it may change how the saga ended.
        let length = stage.journal.len();
        while !participant.queue.is_empty() {
            participant.handle(7);
        }
        for reply in participant.replies.drain(..) {
            prop_assert!(!stage.hear(reply));
        }
        prop_assert_eq!(stage.journal.len(), length);

        let outcomes = outcomes(&stage.journal);
        let compensated = matches!(stage.progress, Progress::Compensated(_));
        if journal::is_past_return(&stage.journal) {
            prop_assert!(!compensated, "it only goes forward");
        }
        let has_to_be_undone = |outcome: &&Outcome| match outcome.replied || outcome.skipped {
            true => compensated || outcome.left,
            false => !outcome.silent.is_empty() || (outcome.left && !outcome.open.is_empty()),
        };
        let to_undo: Vec<String> = outcomes
            .iter()
            .rev()
            .filter(has_to_be_undone)
            .map(|outcome| outcome.name.clone())
            .collect();
        let any_left = outcomes.iter().any(|outcome| outcome.left);
        let order = undo_order(&stage.log);
        // A child that went on when its parent was ended is told first, whenever it answers.
        let told = |name: &String| name.starts_with("child");
        let steps = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| !told(name)).cloned().collect()
        };
        let (mut undone, mut expected) = (steps(&order), steps(&to_undo));
        // Of a success that is cancelled while the last of it is tidied up, that was undone before. And while one thing
        // is undone that the function went on without, another may be answered.
        let succeeded = stage.journal.contains(&Entry::Ended { failure: None });
        if succeeded && (compensated || any_left) {
            undone.sort();
            expected.sort();
        }
        prop_assert_eq!(undone, expected, "in reverse: {:#?}", stage.journal);
        // What the world looks like: whatever could be undone and had to be is not done any more.
        for name in to_undo {
            let state = participant.state.get(&name);
            prop_assert_ne!(state, Some(&Mark::Done), "{} is left over", name);
        }
        for outcome in &outcomes {
            if !compensated && outcome.replied && !outcome.left {
                prop_assert_eq!(participant.state.get(&outcome.name), Some(&Mark::Done));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_part_of_a_journal_leads_to_the_same_commands(
        program in program(),
        chances in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (stage, _) = play(&program, &chances);
        prop_assert_eq!(replayed(&stage), stage.log);
    }
}
