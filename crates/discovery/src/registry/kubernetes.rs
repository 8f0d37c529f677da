//! The registry that a Kubernetes cluster has anyway: its EndpointSlices.
//!
//! The instances of a service are the endpoints in the slices of the Service of that name, which the controllers of the
//! cluster keep. So it is read only: registering does nothing, and an instance is there when its pod is ready. Endpoints
//! mean what [the API says](https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/):
//!
//! | an endpoint | is an instance that |
//! |---|---|
//! | that is ready, or does not say | takes calls |
//! | that is not ready, and serves while it ends | is draining: it gets nothing new |
//! | that is neither | is not there |
//!
//! Its zone is that in which the cluster hints that it be used, and without a hint its own. A pod with addresses of both
//! families is one instance.
//!
//! What is guaranteed: slices are listed and then watched, from the version of the list on. A watch that ends is gone on with
//! where it was; where that is too long ago (410), all is listed again. While the API server is away, or refuses, what is
//! known stays in use, and it is asked again for ever, with growing random pauses.
//!
//! `docs/decisions/0035` says why this is no client for all of Kubernetes.

mod api;
mod following;
mod slices;

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use env::tls::Authorities;
use futures::future::BoxFuture;
use tokio::sync::watch;

use self::{api::Api, following::Following};
use super::{Instances, Registry, watches::Watches};
use crate::{Error, Result};

/// Where a pod finds what it needs to ask the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The name of the port that is meant, where a Service has several.
const PORT: &str = "http";
/// How long it takes until a pod that ends has left the slices, and those who watch have heard of it.
const SPREAD: Duration = Duration::from_secs(5);

/// Which services of the cluster are meant. Read from text: `kubernetes`, or `kubernetes://shop?port=grpc`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Their namespace. Default: that of this pod.
    pub namespace: Option<String>,
    /// The name of the port that takes calls, where a Service has several. Default `http`.
    pub port: Option<String>,
}

impl FromStr for Options {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let parse = || {
            let rest = url.strip_prefix("kubernetes")?;
            let (place, port) = match rest.split_once("?port=") {
                Some((place, port)) => (place, Some(label(port)?)),
                None => (rest, None),
            };
            let namespace = match place {
                "" | "://" => None,
                place => Some(label(place.strip_prefix("://")?)?),
            };
            Some(Self { namespace, port })
        };
        parse().ok_or_else(|| Error::RegistryUrl {
            reason: "write Kubernetes as `kubernetes`, or `kubernetes://shop?port=http` for the namespace `shop` and ports \
                     with the name `http`"
                .to_owned(),
        })
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kubernetes")?;
        if let Some(namespace) = &self.namespace {
            write!(f, "://{namespace}")?;
        }
        match &self.port {
            Some(port) => write!(f, "?port={port}"),
            None => Ok(()),
        }
    }
}

/// A DNS label (RFC 1123), as names of namespaces and ports are.
fn label(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=63).contains(&text.len()) && text.bytes().all(plain);
    is_label.then(|| text.to_owned())
}

/// How the API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where it is, as `https://host:port`.
    pub url: String,
    /// Who vouches for it.
    pub authorities: Authorities,
    /// The file with the token that it asks for. Read for each request, because the cluster replaces it.
    pub token: Option<PathBuf>,
    /// The namespace of who asks.
    pub namespace: String,
}

impl Cluster {
    /// The cluster that this process is a pod of.
    ///
    /// # Errors
    /// [`Error::NoCluster`].
    pub fn of_this_pod() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| Error::NoCluster {
                reason: format!("the variable {name} is not set"),
            })
        };
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host,
        };
        let account = PathBuf::from(ACCOUNT);
        let namespace = std::fs::read_to_string(account.join("namespace"));
        let namespace = namespace.map_err(|error| Error::NoCluster {
            reason: format!(
                "{ACCOUNT} cannot be read ({error}); the pod needs `automountServiceAccountToken: true`"
            ),
        })?;
        Ok(Self {
            url: format!("https://{host}:{port}"),
            authorities: Authorities::File(account.join("ca.crt")),
            token: Some(account.join("token")),
            namespace: namespace.trim().to_owned(),
        })
    }
}

/// See the [module](self). Cheap to clone; when the last clone is gone, what was watched stays as it is.
#[derive(Clone)]
pub struct Kubernetes(Arc<Shared>);

struct Shared {
    api: Arc<Api>,
    port: Arc<str>,
    watches: Watches,
}

impl Kubernetes {
    /// The services of `cluster` that `options` mean. Its API server is asked for nothing yet, and need not be there.
    ///
    /// # Errors
    /// [`Error::NoCluster`] where `cluster` cannot be asked at all.
    pub fn new(cluster: &Cluster, options: &Options) -> Result<Self> {
        let port = options.port.as_deref().unwrap_or(PORT);
        Ok(Self(Arc::new(Shared {
            api: Arc::new(Api::new(cluster, options.namespace.as_deref())?),
            port: port.into(),
            watches: Watches::new(),
        })))
    }
}

impl Registry for Kubernetes {
    /// Must be called within a runtime.
    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.0.watches.watch(service, |told| {
            let api = Arc::clone(&self.0.api);
            let port = Arc::clone(&self.0.port);
            Following::new(api, service, port, told).run()
        })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let listed = self.0.api.list(None).await?;
            Ok(slices::services(&listed.items, &self.0.port))
        })
    }

    fn spread(&self) -> Duration {
        SPREAD
    }
}
