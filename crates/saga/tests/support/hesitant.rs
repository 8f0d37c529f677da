//! A bus that lets others go first before and after everything it does: each of these is a moment to crash at.

use std::time::Duration;

use events::{Bus, CloudEvent, DeadLetter, Delivery, EmbeddedBus, Result, Subscription};
use futures::future::BoxFuture;
use tokio::task::yield_now;

pub(crate) struct Hesitant(pub(crate) EmbeddedBus);

async fn hesitantly<T>(act: impl Future<Output = T>) -> T {
    yield_now().await;
    let result = act.await;
    yield_now().await;
    result
}

impl Bus for Hesitant {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(hesitantly(self.0.publish(batch)))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(async move {
            let member = self.0.subscribe(group, types).await?;
            Ok(Box::new(Member(member)) as Box<dyn Subscription>)
        })
    }

    fn dead_letters<'a>(
        &'a self,
        group: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.0.dead_letters(group)
    }

    fn replay_dead_letter<'a>(&'a self, group: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.replay_dead_letter(group, id)
    }

    fn drop_dead_letter<'a>(&'a self, group: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.drop_dead_letter(group, id)
    }
}

struct Member(Box<dyn Subscription>);

impl Subscription for Member {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        self.0.next(limit)
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(hesitantly(self.0.ack(delivery)))
    }

    fn retry<'a>(
        &'a self,
        delivery: &'a Delivery,
        after: Duration,
        error: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(hesitantly(self.0.retry(delivery, after, error)))
    }

    fn dead_letter<'a>(
        &'a self,
        delivery: &'a Delivery,
        error: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(hesitantly(self.0.dead_letter(delivery, error)))
    }
}
