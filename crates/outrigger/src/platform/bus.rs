//! The bus that the settings name, and who asks a hub for it.

use std::{collections::BTreeMap, sync::Arc};

use discovery::HUB;
use events::{Bus, EmbeddedBus, HubBus, NatsBus, hub, nats};
use identity::{CALL, Issuer, Keyring, OPERATE};

use crate::{Error, Result, Settings};

/// A bus, as what it is. That of a hub is opened for who looks after all services.
pub(crate) enum Opened {
    Embedded(EmbeddedBus),
    AtHub(HubBus),
    Nats(NatsBus),
}

impl Opened {
    /// The bus that `settings` name, by default the one in the data folder.
    pub(crate) async fn open(settings: &Settings, keyring: &Keyring) -> Result<Self> {
        let url = settings.bus_url();
        if hub::is_url(url.reveal()) {
            return Ok(Self::AtHub(at_hub(settings, keyring)?));
        }
        if url.reveal().starts_with("sqlite:") {
            return Ok(Self::Embedded(of_file(settings).await?));
        }
        let bus = NatsBus::connect(url.reveal(), nats::Options::default()).await;
        bus.map(Self::Nats).map_err(failed())
    }

    pub(crate) fn seam(&self) -> Arc<dyn Bus> {
        match self {
            Self::Embedded(bus) => Arc::new(bus.clone()),
            Self::AtHub(bus) => Arc::new(bus.clone()),
            Self::Nats(bus) => Arc::new(bus.clone()),
        }
    }
}

/// The embedded bus of this machine.
pub(crate) async fn of_file(settings: &Settings) -> Result<EmbeddedBus> {
    let bus = EmbeddedBus::open(settings.bus_file().reveal()).await;
    bus.map_err(failed())
}

/// The bus of the hub that `settings` name for it.
pub(crate) fn at_hub(settings: &Settings, keyring: &Keyring) -> Result<HubBus> {
    let bus = HubBus::new(settings.bus_url().reveal()).map_err(failed())?;
    Ok(bus.with_token(token(keyring, "operator", &[CALL, OPERATE])))
}

/// What shows a hub that it is `who` that asks.
pub(crate) fn token(keyring: &Keyring, who: &str, may: &[&str]) -> hub::Token {
    let issuer = issuer(keyring, who, may);
    Arc::new(move || Ok(issuer.bearer(HUB)?))
}

/// Who signs for `who`, which may do that at a hub.
pub(crate) fn issuer(keyring: &Keyring, who: &str, may: &[&str]) -> Issuer {
    let may = may.iter().map(|it| (*it).to_owned()).collect();
    let grants = BTreeMap::from([(HUB.to_owned(), may)]);
    Issuer::new(keyring.clone(), who, grants)
}

fn failed() -> impl FnOnce(events::Error) -> Error {
    Error::start("the platform", "bus")
}
