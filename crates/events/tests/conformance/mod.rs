//! What every bus must do, written once. Each function takes a bus that has nothing in it yet, in paused time.
#![allow(
    dead_code,
    reason = "a backend may run a part of it in a file of its own"
)]

pub(crate) mod order;

use std::{sync::Arc, time::Duration};

use events::{Bus, Error, Subscription};
use outrigger_events as events;

use crate::support::{drain, event, ids, nothing, soon, take};

pub(crate) async fn join(bus: &Arc<dyn Bus>, group: &str, types: &[&str]) -> Box<dyn Subscription> {
    let types: Vec<String> = types.iter().map(|it| (*it).to_owned()).collect();
    bus.subscribe(group, &types).await.expect("subscribed")
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
    assert_eq!(drain(orders.as_ref()).await, ["a-1", "b-1", "c-1"]);
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
    let one = take(first.as_ref(), 1).await;
    let others = take(second.as_ref(), 10).await;
    assert_eq!(ids(&one), ["order.created-1"]);
    assert_eq!(ids(&others), ["order.paid-2", "order.a.b-6"]);
    nothing(first.as_ref()).await;
    assert_eq!(
        drain(notices.as_ref()).await,
        ["order.created-1", "user.updated-5"]
    );
}

/// A new group starts at the beginning of what the bus has.
pub(crate) async fn a_new_group_starts_at_the_beginning(bus: Arc<dyn Bus>) {
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let late = join(&bus, "late", &["order.created"]).await;
    assert_eq!(ids(&take(late.as_ref(), 10).await), ["a-1", "b-1"]);
}

/// A type that is added counts from then on; what waits of one that is left out is given up.
pub(crate) async fn the_types_of_a_group_can_change(bus: Arc<dyn Bus>) {
    let old = join(&bus, "orders", &["order.created"]).await;
    let paid = |number| event("order.paid", "p", number);
    bus.publish(vec![paid(1), event("order.created", "c", 1)])
        .await
        .expect("published");
    drop(old);
    let new = join(&bus, "orders", &["order.paid"]).await;
    bus.publish(vec![paid(2), event("order.created", "c", 2)])
        .await
        .expect("published");
    assert_eq!(drain(new.as_ref()).await, ["p-2"]);
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
    let heads = take(first.as_ref(), 10).await;
    assert_eq!(ids(&heads), ["a-1", "b-1"]);
    nothing(second.as_ref()).await;
    first.ack(&heads[0]).await.expect("acknowledged");
    assert_eq!(ids(&take(second.as_ref(), 10).await), ["a-2"]);
    nothing(first.as_ref()).await;
    first.ack(&heads[1]).await.expect("acknowledged");
    assert_eq!(ids(&take(first.as_ref(), 10).await), ["b-2"]);
}

/// A retry comes after its time and not before, counts up, and holds those of its key meanwhile (G4).
pub(crate) async fn g4_ordered_a_retry_holds_its_key_until_it_is_due(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let mut taken = take(orders.as_ref(), 1).await;
    for attempt in 1..=3 {
        let delivery = &taken[0];
        assert_eq!(
            (delivery.event.id.as_str(), delivery.attempt),
            ("a-1", attempt)
        );
        let after = Duration::from_secs(40) * attempt;
        orders
            .retry(delivery, after, "not yet")
            .await
            .expect("put off");
        if attempt == 1 {
            assert_eq!(drain(orders.as_ref()).await, ["b-1"]);
        }
        let put_off = env::instant();
        taken = take(orders.as_ref(), 10).await;
        let waited = env::instant() - put_off;
        assert!(
            waited > after - Duration::from_secs(1),
            "{waited:?} of {after:?}"
        );
        assert!(
            waited < after + Duration::from_secs(1),
            "{waited:?} of {after:?}"
        );
    }
    assert_eq!(ids(&taken), ["a-1"]);
    orders.ack(&taken[0]).await.expect("acknowledged");
    assert_eq!(drain(orders.as_ref()).await, ["a-2"]);
}

/// A dead letter holds its key; replayed, it comes first, and those that it held follow in order (G4).
pub(crate) async fn g4_ordered_a_dead_letter_holds_its_key_until_it_is_replayed(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    let others = join(&bus, "others", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1), ("a", 3)]).await;
    let taken = take(orders.as_ref(), 1).await;
    orders
        .dead_letter(&taken[0], "no such customer")
        .await
        .expect("given up");
    assert_eq!(drain(orders.as_ref()).await, ["b-1"]);
    assert_eq!(drain(others.as_ref()).await.len(), 4);

    let letters = bus.dead_letters(Some("orders")).await.expect("listed");
    let [letter] = letters.as_slice() else {
        panic!("one dead letter, not {letters:?}")
    };
    assert_eq!(letter.event, event_as_published(&taken[0]));
    assert_eq!(
        (letter.error.as_str(), letter.attempts, letter.held),
        ("no such customer", 1, 2)
    );
    assert_eq!(bus.dead_letters(None).await.expect("listed").len(), 1);
    assert!(
        bus.dead_letters(Some("others"))
            .await
            .expect("listed")
            .is_empty()
    );

    bus.replay_dead_letter("orders", "a-1")
        .await
        .expect("replayed");
    assert_eq!(drain(orders.as_ref()).await, ["a-1", "a-2", "a-3"]);
    let gone = bus.replay_dead_letter("orders", "a-1").await;
    assert!(matches!(gone, Err(Error::NoDeadLetter { .. })), "{gone:?}");
}

fn event_as_published(delivery: &events::Delivery) -> events::CloudEvent {
    delivery.event.as_ref().clone()
}

/// A dead letter that is dropped lets those that it held go.
pub(crate) async fn a_dropped_dead_letter_releases_its_key(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2)]).await;
    let taken = take(orders.as_ref(), 10).await;
    orders
        .dead_letter(&taken[0], "never")
        .await
        .expect("given up");
    nothing(orders.as_ref()).await;
    let (taken, dropped) = tokio::join!(
        take(orders.as_ref(), 10),
        bus.drop_dead_letter("orders", "a-1")
    );
    dropped.expect("dropped");
    assert_eq!(ids(&taken), ["a-2"]);
    assert!(bus.dead_letters(None).await.expect("listed").is_empty());
}

/// What a subscription had taken when it ended is delivered to another (G2).
pub(crate) async fn g2_not_lost_when_a_subscription_ends(bus: Arc<dyn Bus>) {
    let first = join(&bus, "orders", &["order.*"]).await;
    let second = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("b", 1)]).await;
    let taken = take(first.as_ref(), 10).await;
    assert_eq!(ids(&taken), ["a-1", "b-1"]);
    first.ack(&taken[1]).await.expect("acknowledged");
    let (again, ()) = tokio::join!(take(second.as_ref(), 10), async { drop(first) });
    assert_eq!(ids(&again), ["a-1"]);
    second.ack(&again[0]).await.expect("acknowledged");
    assert_eq!(drain(second.as_ref()).await, ["a-2"]);
}

/// All that is not acknowledged outlives the bus: what was never taken, was being handled, waits or is dead (G2).
pub(crate) async fn g2_not_lost_when_the_bus_restarts<F>(open: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Bus>>,
{
    let bus = open().await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(
        &bus,
        &[
            ("done", 1),
            ("held", 1),
            ("later", 1),
            ("dead", 1),
            ("busy", 1),
        ],
    )
    .await;
    publish(&bus, &[("held", 2), ("later", 2), ("dead", 2), ("new", 1)]).await;
    let taken = take(orders.as_ref(), 5).await;
    assert_eq!(taken.len(), 5);
    orders.ack(&taken[0]).await.expect("acknowledged");
    let hour = Duration::from_secs(3600);
    orders
        .retry(&taken[2], hour, "later")
        .await
        .expect("put off");
    orders
        .dead_letter(&taken[3], "never")
        .await
        .expect("given up");
    drop((orders, bus));

    let bus = open().await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    let restarted = env::instant();
    let seen = drain(orders.as_ref()).await;
    assert_eq!(seen, ["held-1", "busy-1", "new-1", "held-2"]);
    let retried = soon_within(2 * hour, orders.next(10))
        .await
        .expect("deliveries");
    assert_eq!((ids(&retried), retried[0].attempt), (vec!["later-1"], 2));
    let waited = env::instant() - restarted;
    assert!(waited > hour - Duration::from_secs(60), "{waited:?}");
    orders.ack(&retried[0]).await.expect("acknowledged");
    bus.replay_dead_letter("orders", "dead-1")
        .await
        .expect("replayed");
    let mut rest = drain(orders.as_ref()).await;
    rest.sort();
    assert_eq!(rest, ["dead-1", "dead-2", "later-2"]);
    publish(&bus, &[("done", 1)]).await;
    nothing(orders.as_ref()).await;
}

async fn soon_within<F: Future>(limit: Duration, future: F) -> F::Output {
    let waited = tokio::time::timeout(limit, future).await;
    waited.expect("it should have come by now")
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
