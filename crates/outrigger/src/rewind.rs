//! A service of a system goes back on the bus: the verb `rewind` works on this.

use data::Database;
use env::Timestamp;

use crate::{
    Error, Result, Service, Settings, System,
    messages::Message,
    platform::{bus::Opened, prepare},
};

/// Has what was published from `since` on, and is still on the bus, delivered once more to `service` of `system`. What
/// it has handled has no effect again, but for the handlers in `again`, each named by the type or pattern that it is
/// for. The service may run or not.
///
/// On the embedded bus of a system that runs in another process, what is being handled at that moment is not waited
/// for.
///
/// # Errors
/// [`Error::UnknownService`], [`Error::NeverRan`], [`Error::UnknownHandler`]; [`Error::Start`] for a database or a bus
/// that cannot be opened; [`Error::Rewind`].
pub async fn rewind(
    system: &System,
    settings: &Settings,
    service: &str,
    since: Timestamp,
    again: &[String],
) -> Result<()> {
    let described = system.find(service)?;
    for handler in again {
        check(described, handler)?;
    }
    let url = settings.database_of(service);
    for url in [&url, &settings.bus_url()] {
        if !Database::exists(url.reveal()) {
            return Err(Error::NeverRan {
                service: service.to_owned(),
                data: settings.data.clone(),
            });
        }
    }
    let failed = Error::start::<data::Error>(service, "database");
    let db = Database::open(url.reveal()).await.map_err(failed)?;
    let db = db.owned_by(service);
    let install = events::install(&db).await;
    install.map_err(Error::start(service, "events"))?;
    let bus = Opened::open(settings, &prepare(settings)?).await?.seam();
    let rewound = events::rewind(&db, bus.as_ref(), service, since, again).await;
    rewound.map_err(|source| Error::Rewind {
        service: service.to_owned(),
        source,
    })
}

/// What is for commands is not named: what they did would be done a second time, without the saga that asked for it.
fn check(service: &Service, handler: &str) -> Result<()> {
    let messages = service.declared_messages();
    let events = messages.handled.iter().map(Message::topic);
    let known: Vec<&str> = events.chain(messages.patterns.iter().copied()).collect();
    if known.contains(&handler) {
        return Ok(());
    }
    Err(Error::UnknownHandler {
        service: service.name().to_owned(),
        handler: handler.to_owned(),
        known: known.join(", "),
    })
}
