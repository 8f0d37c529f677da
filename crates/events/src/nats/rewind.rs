//! Taking a group back.
//!
//! A consumer is paused, which ends by itself: whoever takes a group back and dies on the way leaves none that stands
//! still. Then it is made again with another start. A member that misses it meanwhile makes it from the beginning of
//! the stream; that is undone here, and did no harm, for the inbox knows what was handled.

use std::time::Duration;

use async_nats::{
    datetime::{DateTime, from_nanos},
    jetstream::{
        consumer::{DeliverPolicy, FromConsumer, Info, pull},
        stream::Stream,
    },
};
use env::Timestamp;
use futures::future::{self, BoxFuture};

use super::{
    connection::{Connection, version},
    group, subject,
};
use crate::{Error, Result};

/// The first version that pauses consumers.
const NEEDED: (u32, u32) = (2, 11);
/// How long a pause lasts beyond what is waited for.
const MARGIN: Duration = Duration::from_secs(30);
/// How often the server is asked whether all is settled.
const LOOK: Duration = Duration::from_millis(50);
/// How often a consumer is made again where members make it too.
const TRIES: u32 = 10;

/// See [`Bus::rewind`](crate::Bus::rewind).
pub(super) async fn rewind(
    connection: &Connection,
    partitions: u16,
    group: &str,
    since: Timestamp,
    meanwhile: BoxFuture<'_, Result<()>>,
) -> Result<()> {
    check_version(connection)?;
    let start = date(since)?;
    let stream = &connection.target.options.stream;
    let stream = connection.jetstream.get_stream_no_info(stream).await;
    let stream = stream.map_err(unavailable("the stream cannot be looked up"))?;
    let rewind = Rewind {
        connection,
        group,
        stream,
        names: (0..partitions)
            .map(|partition| subject::consumer(group, partition))
            .collect(),
    };
    rewind.consumers().await?;
    let done = async {
        rewind.pause().await?;
        rewind.quiet().await?;
        meanwhile.await?;
        rewind.start_at(start).await
    };
    let done = done.await;
    if done.is_err() {
        rewind.resume().await;
    }
    done
}

struct Rewind<'a> {
    connection: &'a Connection,
    group: &'a str,
    stream: Stream<()>,
    /// The group's consumers, one for each partition.
    names: Vec<String>,
}

impl Rewind<'_> {
    async fn consumers(&self) -> Result<Vec<Info>> {
        let found = self.names.iter().map(async |name| {
            let found = group::find(self.connection, name).await?;
            found.ok_or_else(|| Error::UnknownGroup {
                group: self.group.to_owned(),
            })
        });
        future::try_join_all(found).await
    }

    /// Three leases, which by default is as long as handlers may take.
    fn patience(&self) -> Duration {
        3 * self.connection.target.options.lease
    }

    async fn pause(&self) -> Result<()> {
        let until = env::now().saturating_add(self.patience() + MARGIN);
        let until = date(until.unwrap_or(Timestamp::MAX))?;
        let pause = |name| self.stream.pause_consumer(name, until);
        let paused = future::try_join_all(self.names.iter().map(|name| pause(name))).await;
        paused.map_err(unavailable("the group cannot be paused"))?;
        Ok(())
    }

    /// Best effort, for a pause ends in any case.
    async fn resume(&self) {
        let resume = |name| self.stream.resume_consumer(name);
        future::join_all(self.names.iter().map(|name| resume(name))).await;
    }

    /// Waits until nothing is being handled. What was given to a member that is no more, or was put off, would be
    /// waited for in vain, and so not for ever.
    async fn quiet(&self) -> Result<()> {
        let settled = async {
            loop {
                let pending: usize = self
                    .consumers()
                    .await?
                    .iter()
                    .map(|it| it.num_ack_pending)
                    .sum();
                if pending == 0 {
                    return Ok(());
                }
                env::sleep(LOOK).await;
            }
        };
        env::timeout(self.patience(), settled)
            .await
            .unwrap_or(Ok(()))
    }

    async fn start_at(&self, start: DateTime) -> Result<()> {
        let known = self.consumers().await?;
        let restart = known
            .into_iter()
            .map(|info| self.restart(info, DeliverPolicy::ByStartTime { start_time: start }));
        future::try_join_all(restart).await?;
        Ok(())
    }

    async fn restart(&self, info: Info, start: DeliverPolicy) -> Result<()> {
        let name = info.name.clone();
        let stream = &self.connection.target.options.stream;
        let config = pull::Config::try_from_consumer_config(info.config.clone());
        let mut config = config.map_err(unavailable("the consumer is of another kind"))?;
        group::want_from_the_start(&mut config, &info)?;
        config.deliver_policy = start;
        config.pause_until = None;
        let mut tries = 1;
        loop {
            // One that is gone is what is wanted.
            _ = self.stream.delete_consumer(&name).await;
            let create = self
                .connection
                .jetstream
                .create_consumer_strict_on_stream(config.clone(), stream);
            match create.await {
                Ok(_) => return Ok(()),
                Err(_) if tries < TRIES => tries += 1,
                Err(error) => return Err(unavailable("the consumer cannot be made again")(error)),
            }
        }
    }
}

fn check_version(connection: &Connection) -> Result<()> {
    let found = connection.client.server_info().version;
    if version(&found) >= NEEDED {
        return Ok(());
    }
    let (major, minor) = NEEDED;
    Err(Error::Unsuitable {
        what: format!("the NATS server {}", connection.target.name()),
        reason: format!(
            "it has version {found}, and taking a group back needs {major}.{minor} or later, which can pause a group"
        ),
    })
}

fn date(time: Timestamp) -> Result<DateTime> {
    from_nanos(time.as_nanosecond()).map_err(unavailable("the time is none that the bus can have"))
}

fn unavailable<E: Into<env::BoxError>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Unavailable {
        source: format!("{what}: {}", env::chain(&*source.into())).into(),
    }
}
