//! Which processes a system has, and what cannot be.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, str::FromStr};

use outrigger::{Settings, System, lifecycle::GATEWAY};

use crate::Error;

/// The most processes of one service.
const MOST: usize = 64;

/// So many processes of a service, as in `order-service=3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replicas {
    service: String,
    count: usize,
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(service, count)| {
            let count = count
                .parse()
                .ok()
                .filter(|count| (1..=MOST).contains(count))?;
            let service = service.to_owned();
            Some(Self { service, count })
        });
        parsed.ok_or_else(|| format!("write it as order-service=3, with a number from 1 to {MOST}"))
    }
}

/// A process that is to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) service: String,
    /// The service, and where there are several of it, which of them.
    pub(super) label: String,
}

/// Every process, the gateway last.
pub(super) fn of(
    system: &System,
    settings: &Settings,
    replicas: &[Replicas],
) -> Result<Vec<Planned>, Error> {
    if !settings.peers.is_empty() {
        return Err(Error::ProcessesAndPeers);
    }
    if settings.discovery.registry.is_some() {
        return Err(Error::ProcessesAndRegistry);
    }
    let mut wanted = BTreeMap::new();
    for Replicas { service, count } in replicas {
        system.find(service)?;
        wanted.insert(service.as_str(), *count);
    }
    let mut plan = Vec::new();
    for service in system.services() {
        let name = service.name();
        let count = wanted.get(name).copied().unwrap_or(1);
        if count > 1 {
            may_be_several(name, settings)?;
        }
        plan.extend((1..=count).map(|number| Planned {
            service: name.to_owned(),
            label: match count {
                1 => name.to_owned(),
                _ => format!("{name}.{number}"),
            },
        }));
    }
    if system.gateway_config()?.is_some() {
        plan.push(Planned {
            service: GATEWAY.to_owned(),
            label: GATEWAY.to_owned(),
        });
    }
    Ok(plan)
}

/// What several processes of one service would share, and cannot.
fn may_be_several(service: &str, settings: &Settings) -> Result<(), Error> {
    let service = service.to_owned();
    let database = settings.database_of(&service);
    if database.reveal().starts_with("sqlite:") {
        return Err(Error::ReplicasOnSqlite { service });
    }
    let bus = settings.messaging.bus.as_ref();
    if bus.is_some_and(|bus| bus.reveal().starts_with("sqlite:")) {
        return Err(Error::ReplicasOnOneBus { service });
    }
    if settings.service(&service).listen.port() != 0 {
        return Err(Error::ReplicasOnOnePort { service });
    }
    Ok(())
}

impl Planned {
    /// The arguments of its process, which joins the hub at `hub`.
    pub(super) fn arguments(
        &self,
        settings: &Settings,
        config: &Path,
        hub: SocketAddr,
    ) -> Vec<String> {
        let mut arguments = vec![
            "serve".to_owned(),
            self.service.clone(),
            "--with-parent".to_owned(),
            "--output=json".to_owned(),
            format!("--config={}", config.display()),
            format!("--data={}", settings.data.display()),
            format!("--hub=http://{hub}"),
        ];
        if self.service == GATEWAY {
            arguments.push(format!("--listen={}", settings.gateway.listen));
        }
        arguments
    }
}
