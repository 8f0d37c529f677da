//! A small API server: the EndpointSlices of one namespace, listed and watched, as `k8s-openapi` writes them.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::stream;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use outrigger_discovery::{
    Instance, Kubernetes,
    registry::kubernetes::{Cluster, Options},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
const SERVICE: &str = "kubernetes.io/service-name";

/// See the file. A clone is the same server.
#[derive(Clone, Default)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<Slices>>,
    /// Told of each change.
    changed: Arc<watch::Sender<()>>,
}

#[derive(Default)]
struct Slices {
    version: u64,
    slices: BTreeMap<String, EndpointSlice>,
    /// What watchers are sent: the version, the service, or all, and the line.
    log: Vec<(u64, Option<String>, String)>,
    /// What was up to this version is in no log any more.
    compacted: u64,
    /// How often the watches were ended.
    ended: usize,
    refusal: Option<StatusCode>,
    bearer: Option<String>,
    /// At most so many slices are listed at once, if a test says so.
    page: Option<usize>,
    asked: Vec<Asked>,
}

/// What a request asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Asked {
    pub(crate) watch: bool,
    pub(crate) allow_watch_bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) resource_version: Option<String>,
    label_selector: Option<String>,
    limit: Option<usize>,
    r#continue: Option<usize>,
}

/// A ready endpoint of the pod `pod`.
pub(crate) fn endpoint(pod: &str, ip: &str) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(conditions(true, true, false)),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(pod.to_owned()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

pub(crate) fn conditions(ready: bool, serving: bool, terminating: bool) -> EndpointConditions {
    EndpointConditions {
        ready: Some(ready),
        serving: Some(serving),
        terminating: Some(terminating),
    }
}

pub(crate) fn port(name: &str, port: i32) -> EndpointPort {
    EndpointPort {
        name: Some(name.to_owned()),
        port: Some(port),
        protocol: Some("TCP".to_owned()),
        ..EndpointPort::default()
    }
}

/// A slice of `service` with these endpoints.
pub(crate) fn slice(
    name: &str,
    service: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            labels: Some(BTreeMap::from([(SERVICE.to_owned(), service.to_owned())])),
            ..ObjectMeta::default()
        },
        ports: Some(ports),
    }
}

impl ApiServer {
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route(PATH, get(answer))
            .with_state(self.clone())
    }

    /// The registry of the server that listens at `at`.
    pub(crate) fn registry(&self, at: SocketAddr) -> Kubernetes {
        let cluster = Cluster {
            url: format!("http://{at}"),
            authorities: env::tls::Authorities::System,
            token: None,
            namespace: "shop".to_owned(),
        };
        Kubernetes::new(&cluster, &Options::default()).expect("a registry")
    }

    fn state(&self) -> MutexGuard<'_, Slices> {
        self.state.lock().expect("no test panics with it")
    }

    /// Makes or changes the slice `name`: these are instances of one service.
    pub(crate) fn put(&self, name: &str, instances: &[Instance]) {
        let endpoints = instances.iter().map(|it| {
            let pod = it.id.split_once('@').expect("service@pod").1;
            Endpoint {
                zone: it.zone.clone(),
                ..endpoint(pod, &it.address.ip().to_string())
            }
        });
        let ports = vec![port("http", i32::from(instances[0].address.port()))];
        self.put_slice(slice(
            name,
            &instances[0].service,
            ports,
            endpoints.collect(),
        ));
    }

    pub(crate) fn put_slice(&self, mut slice: EndpointSlice) {
        let mut state = self.state();
        state.version += 1;
        slice.metadata.resource_version = Some(state.version.to_string());
        let name = slice.metadata.name.clone().expect("a name");
        let known = state.slices.insert(name, slice.clone()).is_some();
        let kind = if known { "MODIFIED" } else { "ADDED" };
        state.log(service(&slice), &json!({ "type": kind, "object": slice }));
        self.changed.send_replace(());
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let mut slice = state.slices.remove(name).expect("it is there");
        slice.metadata.resource_version = Some(state.version.to_string());
        state.log(
            service(&slice),
            &json!({ "type": "DELETED", "object": slice }),
        );
        self.changed.send_replace(());
    }

    /// Tells all who watch how far they have come; returns that.
    pub(crate) fn bookmark(&self) -> String {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let object = json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "",
            "metadata": { "resourceVersion": version }, "endpoints": null, "ports": null,
        });
        state.log(None, &json!({ "type": "BOOKMARK", "object": object }));
        self.changed.send_replace(());
        version
    }

    /// Sends all who watch something that means nothing.
    pub(crate) fn garble(&self) {
        let mut state = self.state();
        state.version += 1;
        state.log(None, &json!({ "type": "SURPRISE", "object": 7 }));
        self.changed.send_replace(());
    }

    /// Forgets what has changed so far.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.log.clear();
    }

    /// Ends every watch.
    pub(crate) fn end_watches(&self) {
        self.state().ended += 1;
        self.changed.send_replace(());
    }

    /// What every request is answered with from now on.
    pub(crate) fn refuse(&self, status: Option<StatusCode>) {
        self.state().refusal = status;
    }

    /// What a request must show from now on.
    pub(crate) fn expect_bearer(&self, token: &str) {
        self.state().bearer = Some(format!("Bearer {token}"));
    }

    pub(crate) fn list_at_most(&self, slices: usize) {
        self.state().page = Some(slices);
    }

    /// What was asked for since the last time, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }
}

impl Slices {
    fn log(&mut self, service: Option<String>, line: &Value) {
        let version = self.version;
        self.log.push((version, service, format!("{line}\n")));
    }
}

fn service(slice: &EndpointSlice) -> Option<String> {
    slice.metadata.labels.as_ref()?.get(SERVICE).cloned()
}

impl Asked {
    fn service(&self) -> Option<String> {
        let (label, service) = self.label_selector.as_ref()?.split_once('=')?;
        (label == SERVICE).then(|| service.to_owned())
    }
}

fn status(code: StatusCode, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "code": code.as_u16(),
    })
}

async fn answer(
    State(server): State<ApiServer>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let mut state = server.state();
    state.asked.push(asked.clone());
    let shown = headers.get(header::AUTHORIZATION);
    let shown = shown.and_then(|it| it.to_str().ok());
    let refusal = match &state.bearer {
        Some(bearer) if shown != Some(bearer) => Some(StatusCode::UNAUTHORIZED),
        _ => state.refusal,
    };
    if let Some(code) = refusal {
        let message = "endpointslices.discovery.k8s.io is forbidden: User \"system:serviceaccount:shop:default\" cannot \
                       list resource \"endpointslices\"";
        return (code, Json(status(code, message))).into_response();
    }
    if asked.watch {
        let from = asked.resource_version.as_deref();
        let from: u64 = from.and_then(|it| it.parse().ok()).expect("a version");
        if from < state.compacted {
            let gone = status(StatusCode::GONE, "too old resource version");
            return (StatusCode::GONE, Json(gone)).into_response();
        }
        let ended = state.ended;
        drop(state);
        return watching(server, from, ended, asked.service()).into_response();
    }
    let wanted = asked.service();
    let mut items: Vec<_> = state
        .slices
        .values()
        .filter(|slice| wanted.is_none() || service(slice) == wanted)
        .skip(asked.r#continue.unwrap_or(0))
        .cloned()
        .collect();
    let page = state
        .page
        .unwrap_or(usize::MAX)
        .min(asked.limit.unwrap_or(usize::MAX));
    let next = (items.len() > page).then(|| (asked.r#continue.unwrap_or(0) + page).to_string());
    items.truncate(page);
    Json(json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "resourceVersion": state.version.to_string(), "continue": next.unwrap_or_default() },
        "items": items,
    }))
    .into_response()
}

/// The changes behind the version `from`, of one service if `wanted` says which, until the watches are ended.
fn watching(server: ApiServer, from: u64, ended: usize, wanted: Option<String>) -> Body {
    let changed = server.changed.subscribe();
    let lines = stream::unfold(Some((from, changed)), move |watcher| {
        let (server, wanted) = (server.clone(), wanted.clone());
        async move {
            let (at, mut changed) = watcher?;
            loop {
                {
                    let state = server.state();
                    if at < state.compacted {
                        let gone = status(StatusCode::GONE, "too old resource version");
                        let line = format!("{}\n", json!({ "type": "ERROR", "object": gone }));
                        return Some((Ok::<_, Infallible>(line), None));
                    }
                    let next = state.log.iter().find(|(version, service, _)| {
                        *version > at
                            && (service.is_none() || wanted.is_none() || *service == wanted)
                    });
                    if let Some((version, _, line)) = next {
                        return Some((Ok(line.clone()), Some((*version, changed))));
                    }
                    if state.ended != ended {
                        return None;
                    }
                }
                changed.changed().await.ok()?;
            }
        }
    });
    Body::from_stream(lines)
}
