//! What the services of a whole system keep, for those who look after it: the verbs `sagas`, `outbox` and `dead-letters`
//! work on this.

use std::collections::BTreeMap;

use data::Database;
use saga::Sagas;

use crate::{Error, Result, Settings, System, messages::Message};

/// The sagas in the databases of the services, whether the services run or not.
///
/// What is done here commits to a service's database as if the service had done it. Commands that follow from it leave
/// with the service's next look at its outbox, or when it starts.
pub struct Operator {
    services: BTreeMap<String, Sagas>,
}

/// The databases of the services of `system`, or of `only` one of them, whether they run or not. One that never ran has
/// none yet.
///
/// # Errors
/// [`Error::UnknownService`], and [`Error::Start`] for a database that cannot be opened.
pub async fn databases(
    system: &System,
    settings: &Settings,
    only: Option<&str>,
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
        let failed = Error::start::<data::Error>(name, "database");
        let db = Database::open(url.reveal()).await.map_err(failed)?;
        let published = &service.declared_messages().published;
        let db = db
            .owned_by(name)
            .publishing(published.iter().map(Message::uri))
            .limiting_messages(settings.messaging.max_event_size);
        events::install(&db)
            .await
            .map_err(Error::start(name, "events"))?;
        databases.insert(name.to_owned(), db);
    }
    Ok(databases)
}

impl Operator {
    /// Opens what there is of `system` in the databases that `settings` name.
    ///
    /// # Errors
    /// [`Error::Start`] for a database that cannot be opened.
    pub async fn open(system: &System, settings: &Settings) -> Result<Self> {
        let mut services = BTreeMap::new();
        for (name, db) in databases(system, settings, None).await? {
            let sagas = Sagas::open(db)
                .await
                .map_err(Error::start(&name, "sagas"))?;
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
