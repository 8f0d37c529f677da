//! What every bus must do, written once. Each function takes a bus that has nothing in it yet; time is paused,
//! or real and shortened where the bus is a real server.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "a backend may run a part of it in a file of its own"
)]

pub(crate) mod order;
pub(crate) mod rewind;
pub(crate) mod versions;

pub(crate) use rewind::*;
pub(crate) use versions::*;

use std::{sync::Arc, time::Duration};

use events::{Bus, Error, Subscription};
use outrigger_events as events;

use crate::support::{drain, drain_for, event, gather, ids, nothing, pace, soon, take};

/// Gives `$run` the names of all that a bus must do, to make a test of each.
macro_rules! every_promise {
    ($run:ident) => {
        $run! {
            publishing_is_idempotent,
            groups_are_independent_and_shared,
            a_new_group_starts_at_the_beginning,
            joining_only_adds_types,
            joining_at_once_loses_nobodys_types,
            a_type_is_left_out_by_saying_so,
            g2_not_lost_and_g4_ordered_while_two_versions_run,
            a_pattern_that_matches_nothing_is_refused,
            waiting_ends_with_a_publication,
            g4_ordered_one_event_of_a_key_at_a_time,
            g4_ordered_what_is_put_off_holds_its_key_until_it_is_due,
            g2_not_lost_when_a_subscription_ends,
            a_wait_that_is_given_up_takes_nothing,
            g4_ordered_a_group_is_given_again_what_came_since,
            g4_ordered_going_back_waits_for_what_is_handled,
            a_failure_on_the_way_back_changes_nothing,
            a_group_that_is_unknown_cannot_go_back,
            a_type_that_was_added_later_counts_on_the_way_back,
        }
    };
}
pub(crate) use every_promise;

pub(crate) async fn join(bus: &Arc<dyn Bus>, group: &str, types: &[&str]) -> Box<dyn Subscription> {
    let types: Vec<String> = types.iter().map(|it| (*it).to_owned()).collect();
    bus.subscribe(group, &types).await.expect("subscribed")
}

/// Drains, and sorts: events of different keys come in any order.
async fn drain_sorted(subscription: &dyn Subscription) -> Vec<String> {
    let mut seen = drain(subscription).await;
    seen.sort();
    seen
}

async fn publish(bus: &Arc<dyn Bus>, events: &[(&str, u32)]) {
    let batch = events
        .iter()
        .map(|(key, number)| event("order.created", key, *number));
    bus.publish(batch.collect()).await.expect("published");
}

/// An id that was published before is taken once, alone, in another batch and twice in one.
pub(crate) async fn publishing_is_idempotent(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("b", 1), ("a", 1)]).await;
    publish(&bus, &[("a", 1), ("c", 1)]).await;
    assert_eq!(drain_sorted(orders.as_ref()).await, ["a-1", "b-1", "c-1"]);
    publish(&bus, &[("a", 1)]).await;
    nothing(orders.as_ref()).await;
}

/// Every group gets every event of its types; its subscriptions share them.
pub(crate) async fn groups_are_independent_and_shared(bus: Arc<dyn Bus>) {
    let first = join(&bus, "orders", &["order.*"]).await;
    let second = join(&bus, "orders", &["order.*"]).await;
    let notices = join(&bus, "notices", &["order.created", "user.updated"]).await;
    let kinds = [
        "order.created",
        "order.paid",
        "orders.x",
        "order",
        "user.updated",
        "order.a.b",
    ];
    for (number, kind) in (1..).zip(kinds) {
        let event = event(kind, kind, number);
        bus.publish(vec![event]).await.expect("published");
    }
    let mut shared = take(first.as_ref(), 1).await;
    shared.extend(gather(second.as_ref(), 2).await);
    let mut shared = ids(&shared);
    shared.sort_unstable();
    assert_eq!(shared, ["order.a.b-6", "order.created-1", "order.paid-2"]);
    nothing(first.as_ref()).await;
    assert_eq!(
        drain_sorted(notices.as_ref()).await,
        ["order.created-1", "user.updated-5"]
    );
}

/// A new group starts at the beginning of what the bus has.
pub(crate) async fn a_new_group_starts_at_the_beginning(bus: Arc<dyn Bus>) {
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let late = join(&bus, "late", &["order.created"]).await;
    assert_eq!(ids(&gather(late.as_ref(), 2).await), ["a-1", "b-1"]);
}

/// What can be no type is refused.
pub(crate) async fn a_pattern_that_matches_nothing_is_refused(bus: Arc<dyn Bus>) {
    for wrong in ["", "*", ".*", "order.* ", "order.*.paid"] {
        let refused = bus.subscribe("orders", &[wrong.to_owned()]).await.err();
        assert!(
            matches!(refused, Some(Error::InvalidPattern { .. })),
            "{wrong:?}: {refused:?}"
        );
    }
}

/// Who waits is woken by what is published.
pub(crate) async fn waiting_ends_with_a_publication(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    let started = env::instant();
    let (taken, ()) = tokio::join!(take(orders.as_ref(), 10), publish(&bus, &[("a", 1)]));
    assert_eq!(ids(&taken), ["a-1"]);
    assert!(env::instant() - started < Duration::from_secs(1));
}

/// Of a key, nothing comes while an earlier event is not acknowledged; other keys do not wait for it (G4).
pub(crate) async fn g4_ordered_one_event_of_a_key_at_a_time(bus: Arc<dyn Bus>) {
    let first = join(&bus, "orders", &["order.*"]).await;
    let second = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1), ("a", 3), ("b", 2)]).await;
    let heads = gather(first.as_ref(), 2).await;
    assert_eq!(ids(&heads), ["a-1", "b-1"]);
    nothing(second.as_ref()).await;
    first.ack(&heads[0]).await.expect("acknowledged");
    assert_eq!(ids(&take(second.as_ref(), 10).await), ["a-2"]);
    nothing(first.as_ref()).await;
    first.ack(&heads[1]).await.expect("acknowledged");
    assert_eq!(ids(&take(first.as_ref(), 10).await), ["b-2"]);
}

/// What is put off comes after its time and not before, counts up, and holds those of its key meanwhile (G4).
pub(crate) async fn g4_ordered_what_is_put_off_holds_its_key_until_it_is_due(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1)]).await;
    // Of what comes first, that of the key `a`; the other waits.
    let mut taken = gather(orders.as_ref(), 2).await;
    let other = taken.pop().expect("two of them");
    orders.ack(&other).await.expect("acknowledged");
    for attempt in 1..=3 {
        let delivery = &taken[0];
        assert_eq!(
            (delivery.event.id.as_str(), delivery.attempt),
            ("a-1", attempt)
        );
        let after = pace(Duration::from_secs(40)) * attempt;
        orders.retry(delivery, after).await.expect("put off");
        if attempt == 1 {
            publish(&bus, &[("b", 2)]).await;
            assert_eq!(drain(orders.as_ref()).await, ["b-2"]);
        }
        let put_off = env::instant();
        taken = take(orders.as_ref(), 10).await;
        let waited = env::instant() - put_off;
        let tolerance = Duration::from_secs(1);
        let (least, most) = (after - tolerance, after + tolerance);
        assert!(waited > least && waited < most, "{waited:?} of {after:?}");
    }
    assert_eq!(ids(&taken), ["a-1"]);
    orders.ack(&taken[0]).await.expect("acknowledged");
    assert_eq!(drain(orders.as_ref()).await, ["a-2"]);
}

/// What a subscription had taken when it ended is delivered to another (G2).
pub(crate) async fn g2_not_lost_when_a_subscription_ends(bus: Arc<dyn Bus>) {
    let first = join(&bus, "orders", &["order.*"]).await;
    let second = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let taken = gather(first.as_ref(), 2).await;
    assert_eq!(ids(&taken), ["a-1", "b-1"]);
    first.ack(&taken[1]).await.expect("acknowledged");
    let (again, ()) = tokio::join!(take(second.as_ref(), 10), async { drop(first) });
    assert_eq!(ids(&again), ["a-1"]);
    second.ack(&again[0]).await.expect("acknowledged");
    assert_eq!(drain(second.as_ref()).await, ["a-2"]);
}

/// All that is not acknowledged outlives the bus: what was never taken, was being handled, or was put off (G2). A
/// delivery that the restart cut short is counted, at the latest from the second on.
pub(crate) async fn g2_not_lost_when_the_bus_restarts<F>(open: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Bus>>,
{
    let bus = open().await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("done", 1), ("held", 1), ("later", 1), ("busy", 1)]).await;
    let taken = gather(orders.as_ref(), 4).await;
    assert_eq!(ids(&taken), ["busy-1", "done-1", "held-1", "later-1"]);
    publish(&bus, &[("held", 2), ("later", 2), ("new", 1)]).await;
    orders.ack(&taken[1]).await.expect("acknowledged");
    let minute = pace(Duration::from_secs(60));
    orders.retry(&taken[3], minute).await.expect("put off");
    drop((orders, bus));

    let mut attempts = Vec::new();
    for _ in 0..3 {
        let bus = open().await;
        let orders = join(&bus, "orders", &["order.*"]).await;
        // The one that ends the process: taken, and never settled.
        let mut taken = Vec::new();
        while !ids(&taken).contains(&"held-1") {
            taken.extend(take(orders.as_ref(), 10).await);
        }
        let held = taken.iter().find(|it| it.event.id == "held-1");
        attempts.push(held.expect("it came").attempt);
    }
    assert!(
        attempts.is_sorted_by(|one, next| one < next),
        "{attempts:?}"
    );

    let bus = open().await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    let mut seen = drain_for(orders.as_ref(), 2 * minute).await;
    for (earlier, later) in [("held-1", "held-2"), ("later-1", "later-2")] {
        let place = |id| seen.iter().position(|it| it == id).expect("it came");
        assert!(place(earlier) < place(later), "{seen:?}");
    }
    seen.sort();
    let all = ["busy-1", "held-1", "held-2", "later-1", "later-2", "new-1"];
    assert_eq!(seen, all);
    publish(&bus, &[("done", 1)]).await;
    nothing(orders.as_ref()).await;
}

/// A wait that is given up takes nothing.
pub(crate) async fn a_wait_that_is_given_up_takes_nothing(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    nothing(orders.as_ref()).await;
    publish(&bus, &[("a", 1)]).await;
    assert_eq!(
        ids(&soon(orders.next(10)).await.expect("deliveries")),
        ["a-1"]
    );
}
