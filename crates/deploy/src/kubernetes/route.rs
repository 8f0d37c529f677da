//! HTTPRoute of the Gateway API (`gateway.networking.k8s.io/v1`), as far as we use it.
//!
//! A route leads a service's paths to our own gateway: only there do requests from outside become requests
//! that services accept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use outrigger::Service;
use serde::Serialize;

use outrigger::lifecycle::GATEWAY;

use super::{Options, workload};

/// The Gateway of the cluster that routes attach to.
const PARENT: &str = "outrigger";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpRoute {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    parent_refs: Vec<Reference>,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    matches: Vec<Match>,
    backend_refs: Vec<Reference>,
}

#[derive(Serialize)]
struct Match {
    path: PathMatch,
}

#[derive(Serialize)]
struct PathMatch {
    r#type: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Reference {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

pub(super) fn route(service: &Service, options: &Options) -> HttpRoute {
    let matches = service
        .declared_boundary()
        .apis
        .iter()
        .map(|api| Match {
            path: PathMatch {
                r#type: "PathPrefix",
                value: api.clone(),
            },
        })
        .collect();
    HttpRoute {
        api_version: "gateway.networking.k8s.io/v1",
        kind: "HTTPRoute",
        metadata: workload::metadata(service.name(), options),
        spec: Spec {
            parent_refs: vec![Reference {
                name: PARENT,
                port: None,
            }],
            rules: vec![Rule {
                matches,
                backend_refs: vec![Reference {
                    name: GATEWAY,
                    port: Some(80),
                }],
            }],
        },
    }
}
