//! The groups on the embedded bus, in the data folder or at a hub: the verb `bus` works on this.
//!
//! A service that was renamed or removed leaves its group behind, for whose sake the bus keeps every event from then on.
//! On NATS there is nothing to do: there events are kept for a time, whoever has handled them.

use data::Database;
use events::{EmbeddedBus, HubBus, embedded::GroupStatus, hub};

use crate::{
    Error, Result, Settings, System,
    platform::{bus, prepare},
};

/// The groups of the embedded bus of `system`, by name, whether it runs or not; those of a hub while that runs.
///
/// # Errors
/// [`Error::NotEmbedded`], [`Error::NothingThere`]; [`Error::Start`] for a bus that cannot be read.
pub async fn list(system: &System, settings: &Settings) -> Result<Vec<GroupStatus>> {
    if let Some(bus) = at_hub(settings)? {
        return bus.groups().await.map_err(failed());
    }
    let url = url(system, settings)?;
    let bus = EmbeddedBus::inspect(&url).await.map_err(failed())?;
    bus.groups().await.map_err(failed())
}

/// Removes the group of a service that `system` does not have any more, and what it had still to handle.
///
/// # Errors
/// As [`list`]; [`Error::GroupOfService`] for one that is needed, [`Error::UnknownGroup`] for one that is not there.
pub async fn forget(system: &System, settings: &Settings, group: &str) -> Result<()> {
    if system.services().iter().any(|it| it.name() == group) {
        return Err(Error::GroupOfService {
            group: group.to_owned(),
        });
    }
    let known = list(system, settings).await?;
    let known: Vec<_> = known.into_iter().map(|it| it.group).collect();
    if !known.iter().any(|it| it == group) {
        return Err(Error::UnknownGroup {
            group: group.to_owned(),
            known: known.join(", "),
        });
    }
    if let Some(bus) = at_hub(settings)? {
        return bus.forget(group).await.map_err(failed());
    }
    let url = url(system, settings)?;
    let bus = EmbeddedBus::open(&url).await.map_err(failed())?;
    bus.forget(group).await.map_err(failed())
}

fn at_hub(settings: &Settings) -> Result<Option<HubBus>> {
    match hub::is_url(settings.bus_url().reveal()) {
        true => bus::at_hub(settings, &prepare(settings)?).map(Some),
        false => Ok(None),
    }
}

fn url(system: &System, settings: &Settings) -> Result<String> {
    let url = settings.bus_url();
    let url = url.reveal();
    if !url.starts_with("sqlite:") {
        return Err(Error::NotEmbedded);
    }
    if !Database::exists(url) {
        return Err(Error::NothingThere {
            system: system.name().to_owned(),
            data: settings.data.clone(),
        });
    }
    Ok(url.to_owned())
}

fn failed() -> impl FnOnce(events::Error) -> Error {
    Error::start("the platform", "bus")
}
