//! The bus over HTTP: the log of [`events::EmbeddedBus`], on the hub's own disk, for processes that have none.
//!
//! What is guaranteed is what [every bus](events::bus) guarantees. Of a process that joins a group this is known:
//!
//! - **A member has a lease.** Whatever it asks counts as a sign of life. When it gives none for so long, what it holds
//!   goes to others of its group, and what it says of that later is refused: it joins again.
//! - **An answer may be lost.** With each pull a member names what it holds; what it holds here and does not name was in
//!   an answer that never came, and is given again. A later pull ends an earlier one of the same member.
//! - **A restart** forgets who was a member and what they held, and nothing else: members join again, and what was not
//!   acknowledged is delivered again.
//!
//! | file | subject |
//! |---|---|
//! | `api.rs` | the paths |
//! | `wire.rs` | what is sent and answered, and what is refused of it |
//! | `members.rs` | who is a member, and until when |
//! | `rewinds.rs` | groups that are being taken back |

mod api;
mod members;
mod rewinds;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use data::Database;
use events::{Bus as _, EmbeddedBus, embedded};
use tokio_util::sync::CancellationToken;

use self::{members::Members, rewinds::Rewinds};
use crate::{Error, Result};

pub(crate) use api::routes;

/// How often it is looked for members that give no sign of life.
const SWEEP: Duration = Duration::from_millis(500);

/// What the bus of a hub allows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which log it serves. Default one of its own.
    pub log: Log,
    /// The most groups that there are. Default 1,000.
    pub groups: usize,
    /// The most members at a time, of all groups. Default 1,000.
    pub members: usize,
    /// How long a member may give no sign of life, where it asks for nothing else. Default 30 s.
    pub lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: Log::Own(embedded::Options::default()),
            groups: 1000,
            members: 1000,
            lease: Duration::from_secs(30),
        }
    }
}

/// A log that a hub serves.
#[derive(Debug, Clone)]
pub enum Log {
    /// In the hub's own database; how much of it is kept.
    Own(embedded::Options),
    /// One that this process uses too, by the same handle: who takes what is known in memory.
    Shared(EmbeddedBus),
}

pub(crate) struct Bus {
    log: EmbeddedBus,
    /// The groups that there are, so that their number has a bound.
    groups: Mutex<BTreeSet<String>>,
    most_groups: usize,
    members: Members,
    rewinds: Rewinds,
}

impl Bus {
    pub(crate) async fn open(db: Database, options: Options) -> Result<Self> {
        let log = match options.log {
            Log::Own(options) => EmbeddedBus::with(db, options).await?,
            Log::Shared(log) => log,
        };
        let groups = log.groups().await?.into_iter().map(|it| it.group);
        Ok(Self {
            groups: Mutex::new(groups.collect()),
            most_groups: options.groups,
            members: Members::new(options.members, options.lease),
            rewinds: Rewinds::default(),
            log,
        })
    }

    pub(crate) fn log(&self) -> &EmbeddedBus {
        &self.log
    }

    /// Ends the membership of those who give no sign of life, until `stop`; then every pull, so that none holds up the
    /// server that drains.
    pub(crate) async fn sweep(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(env::sleep(SWEEP)).await.is_some() {
            self.members.sweep();
            self.rewinds.sweep();
        }
        self.members.end();
    }

    async fn join(&self, group: &str, join: &wire::Join) -> Result<wire::Joined> {
        let limit = self.most_groups;
        let (known, count) = {
            let groups = self.known();
            (groups.contains(group), groups.len())
        };
        if !known && count >= limit {
            return Err(Error::TooManyGroups { limit });
        }
        let member = self.log.join(group, &join.types).await?;
        self.known().insert(group.to_owned());
        self.members.enter(group, member, join.lease())
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a group that has no members.
    async fn forget(&self, group: &str) -> Result<()> {
        let members = self.members.of(group);
        if members > 0 {
            let group = group.to_owned();
            return Err(Error::GroupInUse { group, members });
        }
        self.log.forget(group).await?;
        self.known().remove(group);
        Ok(())
    }

    async fn groups(&self) -> Result<wire::Groups> {
        let groups = self.log.groups().await?;
        let listed = groups.into_iter().map(|status| wire::Listed {
            members: self.members.of(&status.group),
            status,
        });
        Ok(wire::Groups {
            groups: listed.collect(),
        })
    }

    async fn retention(&self) -> Result<wire::Retention> {
        let retention = self.log.retention().await?;
        Ok(wire::Retention {
            retention_ms: wire::millis(retention),
        })
    }
}
