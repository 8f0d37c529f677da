//! From the outbox of a service to the bus.
//!
//! What is guaranteed:
//!
//! - What is in the outbox is brought to the bus, those of a key in order (G2, G4). A crash between the bus and the
//!   outbox brings it twice, which is noticed by the event's id.
//! - Of all relays of a database one [leads](data::leader), and the others wait for it to end. What a leader notes in
//!   the database is fenced, so one that was asleep while another took over cannot undo what that one did.
//! - An event that cannot be brought (it is not readable, or larger than the bus takes) is set aside with its error,
//!   and the others go on, also those of its key: it may never be fit to be sent. `outbox status` names it, and
//!   those who receive the next of its key see by its [number](crate::sequence) that one is missing.
//! - What the bus has confirmed is kept for a [while](Options::replay_window), so that it can be sent again
//!   ([`Database::outbox_replay`]).
//!
//! # How
//!
//! Events are claimed in batches, and a batch is sent once the bus has all of the one before, which is noted in the
//! transaction that claims. Where nothing comes next, it is noted a moment later, with what has come until then. On
//! SQLite the bus is given a batch while its claim is made durable (docs/decisions/0039). After an error nothing is
//! known but what the database says: what is claimed and not settled is sent again first, in the order in which it was
//! claimed. All that is asked of the [bus](Bus::publish) for this is that sending again is safe.
//!
//! Who commits in this process wakes the relay; other processes do so where the engine allows it. Neither is relied
//! on: the outbox is looked at unasked, often after there was something, and less and less after that.

mod leader;

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use data::{Database, Leadership};
use env::{Timestamp, chain};
use tokio_util::sync::CancellationToken;

use self::leader::Leader;
use crate::{Backoff, Bus, Error};

/// What the one that leads leads in.
const MATTER: &str = "outbox";
/// How long the last look may take once the service stops; what is left then is brought at the next start.
const FLUSH: Duration = Duration::from_secs(5);
/// How long nobody looks after there was something, unless woken. Doubles with each look in vain, up to the longest.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_LONGEST: Duration = Duration::from_secs(1);
/// How often it is looked for what is kept no longer.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// How a relay works.
#[derive(Clone)]
pub struct Options {
    /// For how long events are kept that the bus has, so that they can be sent again. Default 1 hour.
    pub replay_window: Duration,
    /// How long to wait while the bus or the database does not answer. Default from 100 ms, doubling, to 5 s.
    pub backoff: Backoff,
    /// Told of every batch, for metrics.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replay_window: Duration::from_secs(60 * 60),
            backoff: Backoff {
                limit: Duration::from_secs(5),
                ..Backoff::default()
            },
            observer: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("replay_window", &self.replay_window)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// Is told of every batch that the bus was given; it must return quickly.
pub type Observer = Arc<dyn Fn(&Published) + Send + Sync>;

/// A batch that the bus was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The types of its events.
    pub kinds: Vec<String>,
    /// How it ended; the error is a fixed word.
    pub outcome: Result<(), &'static str>,
    /// How long it took.
    pub duration: Duration,
}

/// Brings events to the bus until `shutdown`, and then what is left.
///
/// While the bus or the database does not answer, it backs off and goes on trying. Events wait in the outbox
/// meanwhile. There may be any number of relays for a database, in one process or in many: one of them works.
pub async fn run(db: Database, bus: Arc<dyn Bus>, options: Options, shutdown: CancellationToken) {
    loop {
        // Boxed, for all of it is large, and whoever awaits this should not be.
        let Some(leadership) = Box::pin(lead(&db, &shutdown)).await else {
            return;
        };
        let mut leader = Leader::new(&db, bus.as_ref(), &options, leadership);
        let flushed = async {
            shutdown.cancelled().await;
            env::sleep(FLUSH).await;
        };
        let serving = Box::pin(serve(&mut leader, &options.backoff, &shutdown));
        let ended = tokio::select! {
            biased;
            ended = serving => ended,
            () = flushed => Ended::Left("the bus was too slow".to_owned()),
            never = Box::pin(prune(&db, options.replay_window)) => match never {},
        };
        match ended {
            Ended::Deposed => {}
            Ended::Stopped => return,
            Ended::Left(error) => {
                let service = db.owner();
                tracing::warn!(
                    service,
                    error,
                    "events stay in the outbox until the next start"
                );
                return;
            }
        }
    }
}

/// Why a leader does not lead any more.
enum Ended {
    /// Another one does.
    Deposed,
    /// It was told to stop, and nothing is left.
    Stopped,
    /// It was told to stop, and something is left, because of this.
    Left(String),
}

/// Waits for its turn. Once it is told to stop it leads only if nobody else does.
async fn lead(db: &Database, shutdown: &CancellationToken) -> Option<Leadership> {
    let turn = db.lead_in_turn(MATTER);
    match shutdown.run_until_cancelled(turn).await {
        Some(leadership) => Some(leadership),
        None => env::timeout(FLUSH, db.lead(MATTER)).await.ok()?.ok()?,
    }
}

/// Deletes what was sent longer ago than `window`, for ever.
async fn prune(db: &Database, window: Duration) -> Infallible {
    loop {
        env::sleep(PRUNE_EVERY).await;
        let before = env::now().saturating_sub(window).unwrap_or(Timestamp::MIN);
        if let Err(error) = db.outbox_prune(before).await {
            let (service, error) = (db.owner(), chain(&error));
            tracing::warn!(service, error, "cannot delete what was sent long ago");
        }
    }
}

async fn serve(leader: &mut Leader<'_>, backoff: &Backoff, shutdown: &CancellationToken) -> Ended {
    let mut failures = 0;
    let mut look = LOOK_FIRST;
    loop {
        let stopping = shutdown.is_cancelled();
        match leader.bring().await {
            Ok(_) if stopping && leader.is_settled() => return Ended::Stopped,
            Ok(_) if stopping => {}
            Ok(any) => {
                failures = 0;
                look = if any {
                    LOOK_FIRST
                } else {
                    LOOK_LONGEST.min(look * 2)
                };
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = leader.leadership.lost() => return Ended::Deposed,
                    _ = leader.changes.wait() => {}
                    () = env::sleep(look) => {}
                }
            }
            Err(Error::Database(data::Error::Deposed { .. })) => return Ended::Deposed,
            Err(error) if stopping => return Ended::Left(chain(&error)),
            Err(error) => {
                failures += 1;
                let delay = backoff.delay(failures);
                tracing::warn!(
                    service = leader.db.owner(),
                    error = chain(&error),
                    failures,
                    delay_ms = delay.as_millis(),
                    "events wait in the outbox: they could not be brought to the bus"
                );
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = leader.leadership.lost() => return Ended::Deposed,
                    () = env::sleep(delay) => {}
                }
            }
        }
    }
}
