//! Looking at the data of a system, whether it runs or not.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use data::{Database, Row, Value};
use env::chain;
use events::{
    DeadLetter, DeadLetters,
    dead_letters::{Filter, PAGE_LIMIT},
};
use eventsourcing::{
    Store,
    projection::{self, State, Status},
};

use crate::{Service, Settings, System};

/// A read-only view of the databases of a system, whether it runs or not.
#[derive(Clone)]
pub struct Inspection {
    databases: Arc<BTreeMap<String, Database>>,
    /// Of each service, the versions of projections that it keeps up.
    projections: Arc<BTreeMap<String, Vec<(String, u32)>>>,
    failed: Arc<AtomicBool>,
}

/// The name under which an [`Inspection`] shows the embedded bus.
pub const BUS: &str = "bus";

impl Inspection {
    /// Opens what there is of `system` in the folder `data`.
    ///
    /// # Errors
    /// A database that is there but cannot be opened.
    pub async fn open(system: &System, data: &Path) -> data::Result<Self> {
        let settings = Settings {
            data: data.to_owned(),
            ..Settings::default()
        };
        Self::of(system, &settings).await
    }

    /// Opens what there is of `system` where `settings` says.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn of(system: &System, settings: &Settings) -> data::Result<Self> {
        let names = system.services().iter().map(Service::name).chain([BUS]);
        let mut databases = BTreeMap::new();
        for name in names {
            let url = match name {
                BUS => settings.bus_file(),
                service => settings.database_of(service),
            };
            if Database::exists(url.reveal()) {
                databases.insert(name.to_owned(), Database::inspect(url.reveal()).await?);
            }
        }
        let projections = system.services().iter().map(|service| {
            let projections = service.projections().iter();
            let projections = projections.map(|one| (one.name().to_owned(), one.version()));
            (service.name().to_owned(), projections.collect())
        });
        Ok(Self {
            databases: Arc::new(databases),
            projections: Arc::new(projections.collect()),
            failed: Arc::default(),
        })
    }

    /// The same view, of which nobody knows yet whether it [fails](Self::has_failed).
    pub(super) fn afresh(&self) -> Self {
        Self {
            databases: Arc::clone(&self.databases),
            projections: Arc::clone(&self.projections),
            failed: Arc::default(),
        }
    }

    /// The same view, for one look: between its queries it keeps open what it has opened, as
    /// [`Database::glance`](data::Database::glance) does, so drop it soon.
    #[must_use]
    pub fn glance(&self) -> Self {
        let databases = self.databases.iter();
        let databases = databases.map(|(name, database)| (name.clone(), database.glance()));
        Self {
            databases: Arc::new(databases.collect()),
            ..self.afresh()
        }
    }

    /// Whether there is no database at all.
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty()
    }

    /// The services that have no database. Each makes one when it starts, so it has never run, or its database is elsewhere
    /// or lost: whatever is asked of it, nothing is found.
    pub fn missing(&self) -> Vec<&str> {
        let services = self.projections.keys().map(String::as_str);
        let is_missing = |name: &&str| !self.databases.contains_key(*name);
        services.filter(is_missing).collect()
    }

    /// Whether a database could not be looked into.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Reads from the database of `service`; empty where that service has none yet.
    ///
    /// # Errors
    /// What the database says, in words.
    pub async fn query(
        &self,
        service: &str,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, String> {
        match self.databases.get(service) {
            Some(database) => database.query(sql, params).await.map_err(|error| {
                self.failed.store(true, Ordering::Relaxed);
                format!("cannot look into {service}: {}", chain(&error))
            }),
            None => Ok(Vec::new()),
        }
    }

    /// One number from the database of `service`; 0 where there is nothing.
    ///
    /// # Errors
    /// What the database says, in words.
    pub async fn number(&self, service: &str, sql: &str, params: &[Value]) -> Result<i64, String> {
        let rows = self.query(service, sql, params).await?;
        let number = rows
            .first()
            .map(|row| row.get::<Option<i64>>(0))
            .transpose();
        Ok(number
            .map_err(|error| chain(&error))?
            .flatten()
            .unwrap_or(0))
    }

    /// The dead letters of all services, at most 1000 of each.
    ///
    /// # Errors
    /// What a database says, in words.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, String> {
        let mut found = Vec::new();
        for (name, database) in self.databases.iter().filter(|(name, _)| *name != BUS) {
            let dead_letters = DeadLetters::of(database);
            let page = dead_letters
                .list(&Filter::default(), None, PAGE_LIMIT)
                .await;
            let page =
                page.map_err(|error| format!("cannot look into {name}: {}", chain(&error)))?;
            found.extend(page.dead_letters);
        }
        Ok(found)
    }

    /// What still goes on: sagas that have not ended, messages in an outbox or on the bus, projections that have events to
    /// take, dead letters that wait for an operator. Empty is at rest.
    ///
    /// # Errors
    /// What a database says, in words.
    pub async fn unrest(&self) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for name in self.databases.keys() {
            let counts: &[(&str, &str)] = if name == BUS { &IN_BUS } else { &IN_SERVICE };
            for (what, sql) in counts {
                let count = self.number(name, sql, &[]).await?;
                if count > 0 {
                    found.push(format!("{name}: {count} {what}"));
                }
            }
            for projection in self.behind(name).await? {
                found.push(format!(
                    "{name}: projection {projection} has events to take"
                ));
            }
        }
        Ok(found)
    }

    /// The projections that `service` keeps up and that have not caught up. One that was told to stand still is at rest.
    async fn behind(&self, service: &str) -> Result<Vec<String>, String> {
        let kept = self.projections.get(service).map_or(&[][..], Vec::as_slice);
        let (Some(db), false) = (self.databases.get(service), kept.is_empty()) else {
            return Ok(Vec::new());
        };
        let blind = |error| format!("cannot look into {service}: {}", chain(&error));
        let is_kept = |status: &Status| {
            let is_it = |(name, version): &(String, u32)| {
                *name == status.name && *version == status.version
            };
            kept.iter().any(is_it) && status.state != State::Retired && !status.paused
        };
        let store = Store::new(db.clone());
        let mut behind = Vec::new();
        for status in projection::list(db).await.map_err(blind)? {
            if is_kept(&status)
                && !store
                    .read_all(status.position, 1)
                    .await
                    .map_err(blind)?
                    .is_empty()
            {
                behind.push(status.name);
            }
        }
        Ok(behind)
    }
}

const IN_BUS: [(&str, &str); 1] = [("undelivered message(s)", "SELECT count(*) FROM deliveries")];

const IN_SERVICE: [(&str, &str); 5] = [
    (
        "message(s) in the outbox",
        "SELECT count(*) FROM outrigger_outbox WHERE settled_at IS NULL",
    ),
    (
        "message(s) set aside in the outbox",
        "SELECT count(*) FROM outrigger_outbox WHERE refused IS NOT NULL",
    ),
    (
        "message(s) waiting to be tried again or for their turn",
        "SELECT count(*) FROM outrigger_deferred WHERE dead_at IS NULL",
    ),
    (
        "dead letter(s)",
        "SELECT count(*) FROM outrigger_deferred WHERE dead_at IS NOT NULL",
    ),
    (
        "unfinished saga(s)",
        "SELECT count(*) FROM outrigger_sagas WHERE state NOT IN ('completed', 'compensated')",
    ),
];
