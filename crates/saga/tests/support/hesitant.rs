//! A bus that lets others go first before and after everything it does: each of these is a moment to crash at.

use std::time::Duration;

use env::Timestamp;
use events::{Bus, CloudEvent, Delivery, EmbeddedBus, Result, Subscription};
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

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(hesitantly(self.0.leave_out(group, types)))
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(hesitantly(self.0.rewind(group, since, meanwhile)))
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(hesitantly(self.0.retention()))
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

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(hesitantly(self.0.retry(delivery, after)))
    }
}
