//! The checkers accept what a correct system could have shown, and refuse what it could not.

use outrigger_testkit::history::{
    History, Operation,
    effects::at_most_once,
    linearizability::{self, Refused, STEPS},
    order::{Disorder, by_key},
    streams::{Answer, Call, Expected, Stream, check},
    undo::{self, Step, in_reverse},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

type Told = Operation<Call, Answer>;

/// What a stream answers when it is asked these calls one after the other.
fn answered(calls: Vec<Call>) -> Vec<(Call, Answer)> {
    let mut stream: Vec<u64> = Vec::new();
    let mut answer = |call: Call| {
        let version = stream.len() as u64;
        let answer = match &call {
            Call::Read => Answer::Events(stream.clone()),
            Call::Append {
                expected: Expected::Version(expected),
                ..
            } if *expected != version => Answer::Conflict,
            Call::Append { events, .. } => {
                stream.extend(events);
                Answer::Appended(stream.len() as u64)
            }
        };
        (call, answer)
    };
    calls.into_iter().map(&mut answer).collect()
}

fn drawn_call(chance: &mut StdRng, number: u64) -> Call {
    if chance.random_bool(0.4) {
        return Call::Read;
    }
    let expected = match chance.random_range(0..3) {
        0 => Expected::Any,
        _ => Expected::Version(chance.random_range(0..number / 2 + 1)),
    };
    let events = (0..chance.random_range(1..=2))
        .map(|part| 10 * number + part)
        .collect();
    Call::Append { expected, events }
}

/// A history of one stream that is linearizable because it was made from an order: each operation happens at one
/// instant, was called a while before, and answered a while after. Some answers never come.
fn made(seed: u64, count: u64) -> Vec<Told> {
    let mut chance = StdRng::seed_from_u64(seed);
    let calls = (0..count)
        .map(|number| drawn_call(&mut chance, number + 1))
        .collect();
    let told = answered(calls)
        .into_iter()
        .enumerate()
        .map(|(place, (call, answer))| {
            // Even numbers are calls, odd ones answers: no two are at the same instant.
            let instant = 1_000 * (place as u64 + 1);
            let called = 2 * (instant - chance.random_range(0..4_000).min(instant - 1));
            let answered = 2 * (instant + chance.random_range(0..4_000)) + 1;
            let answer = (!chance.random_bool(0.1)).then_some((answer, answered));
            Operation {
                call,
                called,
                answer,
            }
        });
    told.collect()
}

fn is_accepted(told: &[Told]) -> bool {
    let history = History::from_iter(told.iter().cloned());
    linearizability::check(&Stream, &history, STEPS).is_ok()
}

#[test]
fn g6_streams_every_history_that_is_made_from_an_order_is_accepted() {
    for seed in 0..300 {
        let told = made(seed, 14);
        assert!(is_accepted(&told), "seed {seed}: {told:#?}");
    }
}

fn events_of(told: &mut Told) -> Option<&mut Vec<u64>> {
    match &mut told.answer {
        Some((Answer::Events(events), _)) => Some(events),
        _ => None,
    }
}

/// Changes one answer so that it is wrong whatever the order.
fn spoil(told: &mut [Told], seed: u64) -> bool {
    let mut chance = StdRng::seed_from_u64(seed);
    let reads: Vec<_> = (0..told.len())
        .filter(|number| events_of(&mut told[*number]).is_some_and(|events| events.len() > 1))
        .collect();
    let Some(read) = reads.choose(&mut chance) else {
        return false;
    };
    let events = events_of(&mut told[*read]).expect("a read");
    match chance.random_range(0..3) {
        0 => events.push(1_000_000),                // nobody appended it
        1 => drop(events.remove(0)),                // the middle is there, the beginning is not
        _ => events.extend(events.clone().first()), // twice
    }
    true
}

#[test]
fn a_wrong_answer_is_refused() {
    let mut spoiled = 0;
    for seed in 0..300 {
        let mut told = made(seed, 14);
        if spoil(&mut told, seed) {
            spoiled += 1;
            assert!(!is_accepted(&told), "seed {seed}: {told:#?}");
        }
    }
    assert!(spoiled > 200, "{spoiled}");
}

/// All orders of a few operations: slow, and plainly right.
fn brute_force(told: &[Told]) -> bool {
    fn goes_on(left: &[Told], so_far: &[u64]) -> bool {
        if left.iter().all(|told| told.answer.is_none()) {
            return true;
        }
        (0..left.len()).any(|next| {
            let chosen = &left[next];
            let before = |other: &Told| {
                other
                    .answer
                    .as_ref()
                    .is_some_and(|(_, answered)| *answered < chosen.called)
            };
            if left.iter().any(before) {
                return false;
            }
            let calls = so_far.iter().map(|event| Call::Append {
                expected: Expected::Any,
                events: vec![*event],
            });
            let all = answered(calls.chain([chosen.call.clone()]).collect());
            let (_, right) = all.last().expect("at least one");
            if chosen
                .answer
                .as_ref()
                .is_some_and(|(answer, _)| answer != right)
            {
                return false;
            }
            let mut after = so_far.to_vec();
            if let (Call::Append { events, .. }, Answer::Appended(_)) = (&chosen.call, right) {
                after.extend(events);
            }
            let rest: Vec<_> = [&left[..next], &left[next + 1..]].concat();
            goes_on(&rest, &after)
        })
    }
    goes_on(told, &[])
}

#[test]
fn it_agrees_with_trying_all_orders() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..600 {
        let mut told = made(seed, 5);
        if seed % 2 == 0 {
            // Answers change places: sometimes that is still right.
            let mut chance = StdRng::seed_from_u64(seed);
            let (one, other) = (chance.random_range(0..5), chance.random_range(0..5));
            let answer = |told: &[Told], number: usize| {
                told[number].answer.clone().map(|(answer, _)| answer)
            };
            let (first, second) = (answer(&told, one), answer(&told, other));
            for (number, new) in [(one, second), (other, first)] {
                if let (Some((answer, _)), Some(new)) = (&mut told[number].answer, new) {
                    *answer = new;
                }
            }
        }
        let expected = brute_force(&told);
        assert_eq!(is_accepted(&told), expected, "seed {seed}: {told:#?}");
        if expected {
            accepted += 1;
        } else {
            refused += 1;
        }
    }
    assert!(
        accepted > 250 && refused > 50,
        "{accepted} accepted, {refused} refused"
    );
}

fn append(expected: u64, event: u64) -> Call {
    let expected = Expected::Version(expected);
    Call::Append {
        expected,
        events: vec![event],
    }
}

#[test]
fn two_appends_that_expect_the_same_version_cannot_both_succeed() {
    let mut history = History::default();
    let one = history.called(append(0, 1));
    let other = history.called(append(0, 2));
    history.answered(one, Answer::Appended(1));
    history.answered(other, Answer::Appended(1));
    let refused = linearizability::check(&Stream, &history, STEPS).expect_err("one must fail");
    let Refused::NotLinearizable {
        explained: 1,
        all: 2,
        stuck,
    } = &refused
    else {
        panic!("{refused}");
    };
    assert_eq!(stuck.len(), 1, "{refused}");
}

#[test]
fn a_read_that_begins_after_an_append_has_ended_sees_it() {
    let mut history = History::default();
    let written = history.called(append(0, 1));
    history.answered(written, Answer::Appended(1));
    let read = history.called(Call::Read);
    history.answered(read, Answer::Events(vec![]));
    assert!(linearizability::check(&Stream, &history, STEPS).is_err());
}

#[test]
fn an_append_without_an_answer_may_show_late_or_never_but_not_vanish() {
    for (reads, expected) in [
        (vec![vec![], vec![]], true),
        (vec![vec![], vec![1]], true),
        (vec![vec![1], vec![]], false),
    ] {
        let mut history = History::default();
        history.called(append(0, 1));
        for events in &reads {
            let read = history.called(Call::Read);
            history.answered(read, Answer::Events(events.clone()));
        }
        let accepted = linearizability::check(&Stream, &history, STEPS).is_ok();
        assert_eq!(accepted, expected, "{reads:?}");
    }
}

#[test]
fn streams_are_checked_each_alone_and_the_wrong_one_is_named() {
    let mut history = History::default();
    for stream in ["fine", "lossy"] {
        let written = history.called((stream, append(0, 1)));
        history.answered(written, Answer::Appended(1));
        let read = history.called((stream, Call::Read));
        let events = if stream == "fine" { vec![1] } else { vec![] };
        history.answered(read, Answer::Events(events));
    }
    let wrong = check(&history).expect_err("one is wrong");
    assert_eq!(wrong.stream, "lossy");
}

#[test]
fn a_search_is_bounded() {
    let mut history = History::default();
    for event in 0..20 {
        history.called(Call::Append {
            expected: Expected::Any,
            events: vec![event],
        });
    }
    let read = history.called(Call::Read);
    history.answered(read, Answer::Events(vec![99]));
    let refused = linearizability::check(&Stream, &history, 10_000);
    assert_eq!(refused, Err(Refused::Undecided { steps: 10_000 }));
}

#[test]
fn g3_once_an_effect_that_happens_again_is_named() {
    assert_eq!(
        at_most_once([("tally", 1), ("tally", 2), ("other", 1)]),
        Ok(())
    );
    let again = at_most_once(["a", "b", "a"]).expect_err("twice");
    assert_eq!((again.effect, again.place), ("a", 2));
}

#[test]
fn g4_ordered_by_key_and_not_between_keys() {
    let published = [("x", 1), ("y", 1), ("x", 2), ("x", 3)];
    let fine = [("x", 1), ("x", 1), ("x", 3), ("y", 1)];
    assert_eq!(by_key(published, fine), Ok(()));
    let late = by_key(published, [("y", 1), ("x", 2), ("x", 1)]);
    assert_eq!(
        late,
        Err(Disorder::Late {
            key: "x",
            message: 1,
            before: 2
        })
    );
    let unknown = by_key(published, [("y", 2)]);
    assert_eq!(
        unknown,
        Err(Disorder::Unknown {
            key: "y",
            message: 2
        })
    );
}

#[test]
fn what_was_done_is_undone_in_reverse_and_one_at_a_time() {
    use Step::{Asked, Done, Refused, Undoing, Undone};
    let begun = [
        Asked("create"),
        Done("create"),
        Asked("reserve"),
        Done("reserve"),
    ];
    let then = |steps: &[Step<&'static str>]| in_reverse([&begun[..], steps].concat());

    let whole = then(&[
        Asked("charge"),
        Refused("charge"),
        Undoing("reserve"),
        Undoing("reserve"),
        Undone("reserve"),
        Undoing("create"),
        Undone("create"),
    ]);
    assert_eq!(whole, Ok(vec![]));
    assert_eq!(then(&[]), Ok(vec!["create", "reserve"]));
    assert_eq!(
        then(&[Undoing("create")]),
        Err(undo::Disorder::TooEarly {
            undone: "create",
            later: "reserve"
        })
    );
    assert_eq!(
        then(&[Undoing("reserve"), Undoing("create")]),
        Err(undo::Disorder::AtOnce {
            undone: "create",
            other: "reserve"
        })
    );
    assert_eq!(
        then(&[Asked("charge"), Undoing("reserve")]),
        Err(undo::Disorder::Open {
            undone: "reserve",
            open: "charge"
        })
    );
    assert_eq!(
        then(&[Asked("charge"), Refused("charge"), Undoing("charge")]),
        Err(undo::Disorder::NotDone { undone: "charge" })
    );
    // One that ran out of time may have been done, and its latest answer says when.
    let late = [
        Asked("charge"),
        Done("charge"),
        Done("reserve"),
        Undoing("reserve"),
    ];
    assert_eq!(then(&late), Ok(vec!["create", "charge", "reserve"]));
}
