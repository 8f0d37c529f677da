//! What the services of a whole system keep, for those who look after it: the verbs `sagas`, `outbox` and `dead-letters`
//! work on this.

use std::collections::BTreeMap;

use data::Database;
use saga::Sagas;

use crate::{Error, Result, Service, Settings, System, messages::Message};

/// The sagas in the databases of the services, whether the services run or not.
///
/// What is done here commits to a service's database as if the service had done it. Commands that follow from it leave
/// with the service's next look at its outbox, or when it starts.
pub struct Operator {
    services: BTreeMap<String, Sagas>,
}

/// What somebody wants of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look at them: nothing in them is made or changed, whatever the version of whoever looks.
    Look,
    /// To change something, as the service itself would: tables that are missing are made.
    Change,
}

/// The databases of the services of `system`, or of `only` one of them, whether they run or not. One that never ran has
/// none yet.
///
/// # Errors
/// [`Error::UnknownService`]; [`Error::NeverRan`] and [`Error::NothingThere`] where there is none at all;
/// [`Error::Start`] for a database that cannot be opened.
pub async fn databases(
    system: &System,
    settings: &Settings,
    only: Option<&str>,
    access: Access,
) -> Result<BTreeMap<String, Database>> {
    if let Some(only) = only {
        system.find(only)?;
    }
    let mut databases = BTreeMap::new();
    for service in system.services() {
        let name = service.name();
        let url = settings.database_of(name);
        // None is made by looking.
        if !Database::exists(url.reveal()) || only.is_some_and(|only| only != name) {
            continue;
        }
        let db = match access {
            Access::Look => look(name, url.reveal()).await?,
            Access::Change => change(service, settings, url.reveal()).await?,
        };
        databases.insert(name.to_owned(), db);
    }
    if !databases.is_empty() {
        return Ok(databases);
    }
    let data = settings.data.clone();
    Err(match only {
        Some(service) => Error::NeverRan {
            service: service.to_owned(),
            data,
        },
        None => Error::NothingThere {
            system: system.name().to_owned(),
            data,
        },
    })
}

async fn look(service: &str, url: &str) -> Result<Database> {
    let failed = Error::start::<data::Error>(service, "database");
    Ok(Database::inspect(url)
        .await
        .map_err(failed)?
        .owned_by(service))
}

async fn change(service: &Service, settings: &Settings, url: &str) -> Result<Database> {
    let name = service.name();
    let failed = Error::start::<data::Error>(name, "database");
    let published = &service.declared_messages().published;
    let db = Database::open(url)
        .await
        .map_err(failed)?
        .owned_by(name)
        .publishing(published.iter().map(Message::uri))
        .limiting_messages(settings.messaging.max_event_size);
    let installed = events::install(&db).await;
    installed.map_err(Error::start(name, "events"))?;
    Ok(db)
}

impl Operator {
    /// Opens what there is of `system` in the databases that `settings` name.
    ///
    /// # Errors
    /// As [`databases`].
    pub async fn open(system: &System, settings: &Settings, access: Access) -> Result<Self> {
        let mut services = BTreeMap::new();
        for (name, db) in databases(system, settings, None, access).await? {
            let sagas = match access {
                Access::Look => Sagas::of(db),
                Access::Change => Sagas::open(db)
                    .await
                    .map_err(Error::start(&name, "sagas"))?,
            };
            system.find(&name)?.register_sagas(&sagas);
            services.insert(name, sagas);
        }
        Ok(Self { services })
    }

    /// The services and their sagas.
    pub fn services(&self) -> impl Iterator<Item = (&str, &Sagas)> {
        self.services
            .iter()
            .map(|(name, sagas)| (name.as_str(), sagas))
    }

    /// The service that has the saga `id`, and its sagas.
    ///
    /// # Errors
    /// [`NotFound`](saga::Error::NotFound); what a database says.
    pub async fn find(&self, id: &str) -> saga::Result<(&str, &Sagas)> {
        for (service, sagas) in self.services() {
            if sagas.status(id).await?.is_some() {
                return Ok((service, sagas));
            }
        }
        Err(saga::Error::NotFound { id: id.to_owned() })
    }
}
