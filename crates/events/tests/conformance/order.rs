//! Order and completeness under any interleaving: a bus is held to a model of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use events::{Bus, Delivery, Subscription};
use outrigger_events as events;
use proptest::prelude::*;

use super::join;
use crate::support::{event, moment, pace};

/// What may happen to a bus. Numbers choose among what there is, modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Publish {
        key: u8,
        count: u8,
    },
    Take {
        member: usize,
        limit: usize,
    },
    Ack(usize),
    Retry(usize, u64),
    /// A member leaves and another comes in its place.
    Replace(usize),
    Pass(u64),
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    let number = 0..16_usize;
    prop_oneof![
        3 => (0..4_u8, 1..4_u8).prop_map(|(key, count)| Step::Publish { key, count }),
        4 => (0..3_usize, 1..4_usize).prop_map(|(member, limit)| Step::Take { member, limit }),
        4 => number.clone().prop_map(Step::Ack),
        2 => (number, 1..100_u64).prop_map(|(it, seconds)| Step::Retry(it, seconds)),
        1 => (0..3_usize).prop_map(Step::Replace),
        2 => (1..50_u64).prop_map(Step::Pass),
    ]
}

/// What has happened, as far as the guarantees speak of it.
struct Model {
    bus: Arc<dyn Bus>,
    members: Vec<Box<dyn Subscription>>,
    /// How many were published of each key.
    published: BTreeMap<u8, u32>,
    /// How many were done with, of each key: always the first so many.
    done: BTreeMap<String, u32>,
    /// What was taken and not settled, and by whom.
    taken: Vec<(usize, Delivery)>,
}

/// Whatever the steps: of a key one event is out at a time, the first that is not done with, and in the end
/// every event was done with.
pub(crate) async fn g4_ordered_and_g2_not_lost_whatever_happens(
    bus: Arc<dyn Bus>,
    steps: Vec<Step>,
) {
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(join(&bus, "orders", &["order.*"]).await);
    }
    let mut model = Model {
        bus,
        members,
        published: BTreeMap::new(),
        done: BTreeMap::new(),
        taken: Vec::new(),
    };
    for step in steps {
        model.step(step).await;
    }
    model.finish().await;
}

impl Model {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish { key, count } => self.publish(key, count).await,
            Step::Take { member, limit } => self.take(member, limit).await,
            Step::Ack(it) => {
                let Some((member, delivery)) = self.choose(it) else {
                    return;
                };
                self.members[member]
                    .ack(&delivery)
                    .await
                    .expect("acknowledged");
                self.done_with(&delivery.event.id);
            }
            Step::Retry(it, seconds) => {
                let Some((member, delivery)) = self.choose(it) else {
                    return;
                };
                let after = pace(Duration::from_secs(seconds));
                self.members[member]
                    .retry(&delivery, after)
                    .await
                    .expect("put off");
            }
            Step::Replace(member) => {
                self.members[member] = join(&self.bus, "orders", &["order.*"]).await;
                self.taken.retain(|(holder, _)| *holder != member);
            }
            Step::Pass(seconds) => env::sleep(pace(Duration::from_secs(seconds))).await,
        }
    }

    async fn publish(&mut self, key: u8, count: u8) {
        let published = self.published.entry(key).or_default();
        let numbers = *published..*published + u32::from(count);
        *published = numbers.end;
        let key = key.to_string();
        let batch = numbers.map(|number| event("order.created", &key, number));
        self.bus.publish(batch.collect()).await.expect("published");
    }

    async fn take(&mut self, member: usize, limit: usize) {
        let next = self.members[member].next(limit);
        let Ok(taken) = tokio::time::timeout(moment() / 10, next).await else {
            return;
        };
        let taken = taken.expect("deliveries");
        assert!((1..=limit).contains(&taken.len()));
        for delivery in taken {
            let (key, number) = split(&delivery.event.id);
            let first = self.done.get(&key).copied().unwrap_or(0);
            assert_eq!(number, first, "{key}-{number} overtook");
            let out = self
                .taken
                .iter()
                .any(|(_, it)| it.event.id == delivery.event.id);
            assert!(!out, "{key}-{number} is handled twice at once");
            self.taken.push((member, delivery));
        }
    }

    fn choose(&mut self, it: usize) -> Option<(usize, Delivery)> {
        let count = self.taken.len();
        (count > 0).then(|| self.taken.swap_remove(it % count))
    }

    fn done_with(&mut self, id: &str) {
        let (key, number) = split(id);
        let done = self.done.entry(key).or_default();
        assert_eq!(*done, number);
        *done += 1;
    }

    /// Everything comes to an end when nothing fails any more.
    async fn finish(mut self) {
        let total: u32 = self.published.values().sum();
        let deadline = env::instant() + Duration::from_secs(1000);
        while self.done.values().sum::<u32>() < total {
            self.step(Step::Take {
                member: 0,
                limit: 10,
            })
            .await;
            if self.taken.is_empty() {
                self.step(Step::Pass(1)).await;
            }
            while !self.taken.is_empty() {
                self.step(Step::Ack(0)).await;
            }
            assert!(
                env::instant() < deadline,
                "of {total} only {:?} came",
                self.done
            );
        }
    }
}

fn split(id: &str) -> (String, u32) {
    let (key, number) = id.split_once('-').expect("key-number");
    (key.to_owned(), number.parse().expect("a number"))
}
