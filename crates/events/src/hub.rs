//! The bus of a hub, over HTTP; `outrigger-hub` is the server.
//!
//! What the hub guarantees is what the [embedded bus](crate::embedded) does, whose log it has. What is added here:
//!
//! - **The hub may be away.** What is asked of it fails with
//!   [`Error::Unavailable`](crate::Error::Unavailable), and may be asked again: publishing
//!   is idempotent, and who publishes from an [outbox](crate::relay) leaves nothing out. A member joins again by itself,
//!   and is given again what it had not settled.
//! - **A lease that was lost is not fought for.** A member that the hub took for dead is told so when it settles something:
//!   that counts as settled here, for the hub delivers it again, and the inbox knows it.
//! - Events go as CloudEvents in structured JSON, in batches; the hub's `/openapi.json` describes the
//!   paths, so that other languages can do the same.

mod link;
mod member;
mod pump;
mod rewind;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use env::{BoxError, Finding, Severity, Timestamp, chain};
use futures::future::BoxFuture;
use http::{HeaderValue, Method};
use serde::Deserialize;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Bus, CloudEvent, Result, Subscription, embedded::GroupStatus, pattern};
use link::{Failure, Link, MANY};
use member::Member;

/// The most events and bytes that are sent at once.
const CHUNK: usize = 512;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// Gives the value of the `authorization` header for each request to a hub that asks for tokens.
pub type Token = Arc<dyn Fn() -> Result<HeaderValue, BoxError> + Send + Sync>;

/// See the [module](self). Clones are handles of one bus.
#[derive(Clone)]
pub struct HubBus {
    link: Arc<Link>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Whether it is a hub that `url` names, and not another bus.
pub fn is_url(url: &str) -> bool {
    url.starts_with("http:") || url.starts_with("https:")
}

/// Looks at the hub at `url` as an operator would.
///
/// # Errors
/// [`Error::InvalidUrl`](crate::Error::InvalidUrl).
pub async fn check(url: &str) -> Result<Finding> {
    let link = Link::new(url)?;
    Ok(
        match link.send(Method::GET, "/health", Bytes::new()).await {
            Ok(_) => Finding::fine(
                "bus",
                "at a hub: events are on its disk before they are acknowledged",
            ),
            Err(failure) => {
                let advice = "start the hub, or correct `messaging.bus`";
                Finding::new(Severity::Error, "bus", chain(&failure), advice)
            }
        },
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retention {
    retention_ms: u64,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<GroupStatus>,
}

impl HubBus {
    /// The bus of the hub at `url`, such as `http://hub:7700`, or `https://hub.example?ca=/etc/shop/ca.pem` as
    /// [`Origin::parse`](env::http::Origin::parse) reads it. It is asked for nothing yet, and need not be there.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`](crate::Error::InvalidUrl).
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            link: Arc::new(Link::new(url)?),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// The same bus, each request to which carries what `token` gives. [Closing](Bus::close) either closes both.
    #[must_use]
    pub fn with_token(&self, token: Token) -> Self {
        Self {
            link: Arc::new(self.link.with_token(token)),
            ..self.clone()
        }
    }

    /// How every group is doing, by name.
    ///
    /// # Errors
    /// [`Unavailable`](crate::Error::Unavailable), [`Unsuitable`](crate::Error::Unsuitable).
    pub async fn groups(&self) -> Result<Vec<GroupStatus>> {
        let groups: Groups = self.link.get("/v1/subscriptions").await?;
        Ok(groups.groups)
    }

    /// Removes a group for good, with what it has still to handle: for a service that is no more, for whose sake the
    /// log would otherwise be kept for ever.
    ///
    /// # Errors
    /// As [`groups`](Self::groups); the hub refuses it for one that has members.
    pub async fn forget(&self, group: &str) -> Result<()> {
        let path = link::group(group);
        self.link.send(Method::DELETE, &path, Bytes::new()).await?;
        Ok(())
    }

    async fn publish_all(&self, batch: Vec<CloudEvent>) -> Result<()> {
        let mut chunk = Chunk::default();
        for event in &batch {
            let json = event.to_json()?;
            if chunk.is_full_for(&json) {
                self.publish_chunk(chunk.take()).await?;
            }
            chunk.add(&json);
        }
        if chunk.count > 0 {
            self.publish_chunk(chunk.take()).await?;
        }
        Ok(())
    }

    async fn publish_chunk(&self, json: Bytes) -> Result<()> {
        let published = self.link.ask(Method::POST, "/v1/events", MANY, json);
        published.await.map_err(Failure::of_events)?;
        Ok(())
    }
}

/// A batch in the making: a JSON array.
#[derive(Default)]
struct Chunk {
    json: Vec<u8>,
    count: usize,
}

impl Chunk {
    fn is_full_for(&self, event: &[u8]) -> bool {
        let is_too_large = self.json.len() + event.len() > CHUNK_BYTES;
        self.count == CHUNK || (self.count > 0 && is_too_large)
    }

    fn add(&mut self, event: &[u8]) {
        self.json.push(if self.count == 0 { b'[' } else { b',' });
        self.json.extend_from_slice(event);
        self.count += 1;
    }

    fn take(&mut self) -> Bytes {
        let mut done = std::mem::take(self);
        done.json.push(b']');
        done.json.into()
    }
}

impl Bus for HubBus {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.publish_all(batch))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(async move {
            types.iter().try_for_each(|wanted| pattern::check(wanted))?;
            let stop = self.stop.child_token();
            let (member, pump) = Member::join(Arc::clone(&self.link), group, types, stop).await?;
            self.tasks.spawn(pump.run());
            Ok(Box::new(member) as Box<dyn Subscription>)
        })
    }

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = format!("{}/leave-out", link::group(group));
            let body = json!({ "types": types }).to_string();
            self.link.send(Method::POST, &path, body.into()).await?;
            Ok(())
        })
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(rewind::rewind(&self.link, group, since, meanwhile))
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(async move {
            let retention: Retention = self.link.get("/v1/events").await?;
            Ok(Duration::from_millis(retention.retention_ms))
        })
    }

    /// Where the hub is away, leases run out.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            self.tasks.close();
            if env::timeout(CLOSE, self.tasks.wait()).await.is_err() {
                tracing::warn!("the hub did not hear that its bus is left; leases run out");
            }
        })
    }
}
