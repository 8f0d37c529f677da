//! Kubernetes: for each service a claim for its database, a Deployment, a Service and an HTTPRoute; and the
//! gateway, which the routes lead to.
//!
//! Services find each other in the EndpointSlices of the cluster, which the ServiceAccount of the system may read, and nothing
//! else. Who calls nobody has no token at all.
//!
//! A service on its embedded database has one replica, whose volume moves with it: two writers of one SQLite
//! file is what must never be.

mod access;
mod route;
mod workload;

use outrigger::{Service, System, lifecycle::GATEWAY};
use serde::Serialize;

use crate::Error;

/// The port that every container listens on.
pub const PORT: i32 = 8080;

/// What a cluster calls things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The image that runs every service, such as `registry.example/shop:1.2.0`.
    pub image: String,
    /// The namespace of everything.
    pub namespace: String,
}

/// The manifests of `system` as one YAML stream.
///
/// # Errors
/// [`Error::Image`] and [`Error::Namespace`] for names that no cluster takes; [`Error::Yaml`].
pub fn render(system: &System, options: &Options) -> Result<String, Error> {
    check(options)?;
    let mut stream = Stream::default();
    let name = system.name();
    stream.add("ServiceAccount", name, &access::account(system, options))?;
    stream.add("Role", name, &access::role(system, options))?;
    stream.add("RoleBinding", name, &access::binding(system, options))?;
    for service in system.services() {
        let name = service.name();
        stream.add(
            "PersistentVolumeClaim",
            name,
            &workload::claim(name, options),
        )?;
        stream.add(
            "Deployment",
            name,
            &workload::deployment(system, service_of(service), options),
        )?;
        stream.add("Service", name, &workload::service(name, options))?;
        stream.add("HTTPRoute", name, &route::route(service, options))?;
    }
    stream.add(
        "Deployment",
        GATEWAY,
        &workload::deployment(system, gateway_of(system), options),
    )?;
    stream.add("Service", GATEWAY, &workload::service(GATEWAY, options))?;
    Ok(stream.text)
}

/// A process of the system: what it is called, and whom it calls.
struct Process<'a> {
    name: &'a str,
    version: &'a str,
    calls: Vec<&'a str>,
    has_database: bool,
}

impl Process<'_> {
    fn calls_others(&self) -> bool {
        !self.calls.is_empty()
    }
}

fn service_of(service: &Service) -> Process<'_> {
    let calls = service
        .declared_boundary()
        .depends_on
        .iter()
        .map(String::as_str)
        .collect();
    Process {
        name: service.name(),
        version: service.declared_version(),
        calls,
        has_database: true,
    }
}

fn gateway_of(system: &System) -> Process<'_> {
    let calls = system.services().iter().map(Service::name).collect();
    Process {
        name: GATEWAY,
        version: "",
        calls,
        has_database: false,
    }
}

fn check(options: &Options) -> Result<(), Error> {
    if options.image.is_empty() || options.image.contains(char::is_whitespace) {
        return Err(Error::Image(options.image.clone()));
    }
    let is_label = |text: &str| {
        (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if is_label(&options.namespace) {
        Ok(())
    } else {
        Err(Error::Namespace(options.namespace.clone()))
    }
}

#[derive(Default)]
struct Stream {
    text: String,
}

impl Stream {
    fn add(
        &mut self,
        kind: &'static str,
        service: &str,
        manifest: &impl Serialize,
    ) -> Result<(), Error> {
        let yaml = serde_yaml_ng::to_string(manifest).map_err(|source| Error::Yaml {
            kind,
            service: service.to_owned(),
            source,
        })?;
        self.text.push_str("---\n");
        self.text.push_str(&yaml);
        Ok(())
    }
}
