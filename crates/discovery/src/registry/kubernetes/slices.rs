//! EndpointSlices of `discovery.k8s.io/v1`, as far as they are read here, and which instances they mean.
//!
//! The tests send what the typed API of `k8s-openapi` writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::Deserialize;

use crate::Instance;

/// The label that names the Service of a slice.
const SERVICE: &str = "kubernetes.io/service-name";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointSlice {
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    pub(super) resource_version: Option<String>,
    /// Where a list goes on.
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    target_ref: Option<Reference>,
    zone: Option<String>,
    hints: Option<Hints>,
}

#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<Zone>>,
}

#[derive(Debug, Deserialize)]
struct Zone {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

impl EndpointSlice {
    /// The name of the Service that it is of.
    fn service(&self) -> Option<&str> {
        let labels = self.metadata.labels.as_ref()?;
        labels.get(SERVICE).map(String::as_str)
    }

    /// The one port that takes calls over TCP, or of several that with this name.
    fn port(&self, name: &str) -> Option<u16> {
        let ports = self.ports.iter().flatten();
        let mut ports = ports.filter(|it| it.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let found = match (ports.next(), ports.next()) {
            (only, None) => only,
            _ => {
                let mut ports = self.ports.iter().flatten();
                ports.find(|it| it.name.as_deref() == Some(name))
            }
        };
        found.and_then(|it| it.port)
    }
}

impl Endpoint {
    /// The instance of `service` that it is, if it is one.
    fn instance(&self, service: &str, port: u16) -> Option<Instance> {
        let ready = self.conditions.ready.unwrap_or(true);
        let serving = self.conditions.serving.unwrap_or(ready);
        if !ready && !serving {
            return None;
        }
        // Several addresses of an endpoint are the same to everybody.
        let address: IpAddr = self.addresses.first()?.parse().ok()?;
        let address = SocketAddr::new(address, port);
        let pod = self.target_ref.as_ref().and_then(|it| it.name.clone());
        let hinted = self.hints.as_ref().and_then(|it| it.for_zones.as_deref());
        let hinted = hinted.and_then(<[Zone]>::first).map(|it| it.name.clone());
        Some(Instance {
            id: format!("{service}@{}", pod.unwrap_or_else(|| address.to_string())),
            zone: hinted.or_else(|| self.zone.clone()),
            draining: !ready,
            ..Instance::new(service, address)
        })
    }
}

/// The instances of `service` in all its slices, each once: one that takes calls before one that drains, as where an endpoint
/// moves from one slice to another, and IPv4 before IPv6. The port with the name `port` is meant where there are several.
pub(super) fn instances<'a>(
    service: &str,
    port: &str,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Vec<Instance> {
    let mut found = BTreeMap::<String, Instance>::new();
    let slices = slices.into_iter();
    for slice in slices.filter(|it| matches!(it.address_type.as_str(), "IPv4" | "IPv6")) {
        let Some(port) = slice.port(port) else {
            let slice = &slice.metadata.name;
            tracing::warn!(
                service,
                slice,
                "it has several ports, and none is called `{port}`"
            );
            continue;
        };
        let endpoints = slice.endpoints.iter().flatten();
        for instance in endpoints.filter_map(|it| it.instance(service, port)) {
            let rank = |it: &Instance| (it.draining, it.address);
            match found.get(&instance.id) {
                Some(known) if rank(known) <= rank(&instance) => {}
                _ => _ = found.insert(instance.id.clone(), instance),
            }
        }
    }
    found.into_values().collect()
}

/// The services that have an instance in `slices`, by name.
pub(super) fn services(slices: &[EndpointSlice], port: &str) -> Vec<String> {
    let found: BTreeSet<_> = slices
        .iter()
        .filter_map(|slice| {
            let service = slice.service()?;
            (!instances(service, port, [slice]).is_empty()).then(|| service.to_owned())
        })
        .collect();
    found.into_iter().collect()
}
