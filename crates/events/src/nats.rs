//! The bus on NATS JetStream.
//!
//! One stream holds the events, under the subjects `<stream>.<partition>.<type>`. The partition is the hash of the
//! event's key. A group has a durable pull consumer for each partition that lets out one event at a time, so the server
//! keeps the order of a key (G4) across any number of replicas; different partitions are handled at the same time.
//!
//! What is guaranteed, and by what:
//!
//! - **Order**: `publish.rs` and `whole.rs` say why a batch that fails in the middle changes none, `subscription.rs` why a
//!   lost acknowledgement does not.
//! - **Not lost** (G2): a publication counts when the server has acknowledged it, a delivery is given back when its
//!   lease runs out. Whether the server has an acknowledged event on its disk is **its** setting:
//!   [`check`] says whether it syncs, and so does a warning at the start.
//! - **Idempotent**: by the event's id within the server's window; after that by the consumer's inbox.
//!
//! What differs from the embedded bus: events of different keys that share a partition wait for each other while one
//! is being taken or put off; and an event leaves the stream when it is older than
//! [`max_age`](Options::max_age), handled or not.

mod check;
mod connection;
mod group;
mod message;
mod monitor;
mod options;
mod publish;
mod pump;
mod rewind;
mod stream;
mod subject;
mod subscription;
mod whole;

use std::{sync::Arc, time::Duration};

use env::{Timestamp, chain};
use futures::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Bus, CloudEvent, Error, Result, Subscription, pattern};
pub use check::check;
use connection::Connection;
pub use options::Options;
use options::Target;
use pump::Pump;
use stream::Properties;
use subscription::{Member, Shared};

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// See the [module](self). Clones are handles of one connection.
#[derive(Clone)]
pub struct NatsBus {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    /// What is known of the stream, once it was seen.
    stream: tokio::sync::Mutex<Option<Properties>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl NatsBus {
    /// Connects to `url`: `nats://` or `tls://`, several hosts with commas between them, and [`Options`] as its
    /// parameters.
    ///
    /// A server that does not answer is no error: it is tried for ever, and until then what is asked of the bus fails
    /// with [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::InvalidUrl`]; [`Error::Unsuitable`] when the server answers and it, or its stream, cannot be used.
    pub async fn connect(url: &str, options: Options) -> Result<Self> {
        let target = Target::parse(url, options)?;
        let name = target.name();
        let bus = Self {
            inner: Arc::new(Inner {
                connection: Connection::open(target).await?,
                stream: tokio::sync::Mutex::new(None),
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        };
        match bus.inner.ready().await {
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                tracing::warn!(
                    server = name,
                    error = chain(&error),
                    "the bus does not answer yet"
                );
            }
            Err(error) => return Err(error),
        }
        let (connection, stop) = (bus.inner.connection.clone(), bus.inner.stop.clone());
        let checking = async move { stop.run_until_cancelled(check::warn(connection)).await };
        bus.inner.tasks.spawn(checking);
        Ok(bus)
    }
}

impl Inner {
    /// Waits for a connection, and makes or checks the stream. Returns the number of the connection and what the stream is.
    async fn ready(&self) -> Result<(u64, Properties)> {
        let state = self.connection.ready().await?;
        let mut known = self.stream.lock().await;
        if let Some(stream) = *known {
            return Ok((state.number, stream));
        }
        let stream = stream::ensure(&self.connection).await?;
        *known = Some(stream);
        Ok((state.number, stream))
    }

    async fn publish(&self, batch: &[CloudEvent]) -> Result<()> {
        let (number, stream) = self.ready().await?;
        let published = publish::publish(&self.connection, number, stream, batch).await;
        if published.as_ref().is_err_and(Error::is_retryable) {
            // The stream may be gone; it is looked for again.
            *self.stream.lock().await = None;
        }
        published
    }

    async fn subscribe(&self, group: &str, types: &[String]) -> Result<Member> {
        for wanted in types {
            pattern::check(wanted)?;
        }
        let (number, stream) = self.ready().await?;
        let interests = group::join(&self.connection, stream.partitions, group, types).await?;
        let stop = self.stop.child_token();
        let connection = self.connection.clone();
        let shared = Arc::new(Shared::new(connection, group, types, interests, stop));
        let inbox = format!("{}.*", shared.inbox);
        let inbox = self.connection.client.subscribe(inbox).await;
        let inbox = inbox.map_err(|error| Error::Unavailable {
            source: error.into(),
        })?;
        let pump = Pump::new(Arc::clone(&shared), inbox, number);
        self.tasks.spawn(pump.run());
        Ok(Member { shared })
    }
}

impl Bus for NatsBus {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.inner.publish(&batch).await })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(async move {
            let member = self.inner.subscribe(group, types).await?;
            Ok(Box::new(member) as Box<dyn Subscription>)
        })
    }

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (_, stream) = self.inner.ready().await?;
            group::leave_out(&self.inner.connection, stream.partitions, group, types).await
        })
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (_, stream) = self.inner.ready().await?;
            let connection = &self.inner.connection;
            rewind::rewind(connection, stream.partitions, group, since, meanwhile).await
        })
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(async move {
            self.inner.connection.ready().await?;
            stream::retention(&self.inner.connection).await
        })
    }

    /// What the subscriptions had not settled is given back. Without a connection there is nothing to wait for.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.stop.cancel();
            self.inner.tasks.close();
            if env::timeout(CLOSE, self.inner.tasks.wait()).await.is_err() {
                tracing::warn!("NATS did not hear that the bus is closed; leases run out");
            }
        })
    }
}
