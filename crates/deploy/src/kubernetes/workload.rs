//! What runs: the claim for a database, the Deployment, and the Service in front of it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::{
            Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath,
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
            SeccompProfile, SecretVolumeSource, SecurityContext, Service, ServicePort, ServiceSpec,
            Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use outrigger::System;

use super::{Options, PORT, Process};

/// Longer than a service takes to drain (20 s by default), so that it is never cut off.
const GRACE_SECONDS: i64 = 30;
const DATA: &str = "/var/lib/outrigger";
const KEYS: &str = "/etc/outrigger";
/// The Secret that holds the keys of the service tokens, as `keys.json`.
const KEY_SECRET: &str = "outrigger-keys";
const NOBODY: i64 = 65_532;

pub(super) fn claim(name: &str, options: &Options) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: metadata(name, options),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(quantities([("storage", "1Gi")])),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn deployment(system: &System, process: Process<'_>, options: &Options) -> Deployment {
    let labels = labels(process.name);
    let mut pod_labels = labels.clone();
    pod_labels.insert(
        "app.kubernetes.io/part-of".to_owned(),
        system.name().to_owned(),
    );
    if !process.version.is_empty() {
        pod_labels.insert(
            "app.kubernetes.io/version".to_owned(),
            process.version.to_owned(),
        );
    }
    Deployment {
        metadata: metadata(process.name, options),
        spec: DeploymentSpec {
            replicas: Some(1),
            // The old pod must be gone before the new one opens its database.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                ..Default::default()
            }),
            selector: LabelSelector {
                match_labels: Some(labels),
                ..Default::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    ..Default::default()
                }),
                spec: Some(pod(system, process, options)),
            },
            ..Default::default()
        },
        ..Default::default()
    }
}

fn pod(system: &System, process: Process<'_>, options: &Options) -> PodSpec {
    let data = if process.has_database {
        Volume {
            name: "data".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: process.name.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }
    } else {
        Volume {
            name: "data".to_owned(),
            empty_dir: Some(Default::default()),
            ..Default::default()
        }
    };
    let keys = Volume {
        name: "keys".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(KEY_SECRET.to_owned()),
            items: Some(vec![KeyToPath {
                key: "keys.json".to_owned(),
                path: "keys.json".to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    };
    PodSpec {
        automount_service_account_token: Some(process.calls_others()),
        service_account_name: process.calls_others().then(|| system.name().to_owned()),
        containers: vec![container(&process, options)],
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            fs_group: Some(NOBODY),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        volumes: Some(vec![data, keys]),
        ..Default::default()
    }
}

fn container(process: &Process<'_>, options: &Options) -> Container {
    let arguments = [
        "serve",
        process.name,
        "--listen",
        &format!("0.0.0.0:{PORT}"),
        "--data",
        DATA,
    ]
    .map(str::to_owned);
    Container {
        name: process.name.to_owned(),
        image: Some(options.image.clone()),
        args: Some(arguments.to_vec()),
        env: Some(environment(process)),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: PORT,
            ..Default::default()
        }]),
        liveness_probe: Some(probe("/health")),
        readiness_probe: Some(probe("/ready")),
        resources: Some(ResourceRequirements {
            requests: Some(quantities([("cpu", "50m"), ("memory", "64Mi")])),
            limits: Some(quantities([("memory", "256Mi")])),
            ..Default::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..Default::default()
        }),
        volume_mounts: Some(vec![
            mount("data", DATA, None),
            mount("keys", KEYS, Some(true)),
        ]),
        ..Default::default()
    }
}

/// Who calls others finds them in the EndpointSlices of their Services.
fn environment(process: &Process<'_>) -> Vec<EnvVar> {
    let keys = format!("{KEYS}/keys.json");
    let fixed = [
        ("OUTRIGGER_LOGGING__FORMAT", "json"),
        ("OUTRIGGER_SECURITY__KEYS", &keys),
    ];
    let registry = ("OUTRIGGER_DISCOVERY__REGISTRY", "kubernetes");
    fixed
        .into_iter()
        .chain(process.calls_others().then_some(registry))
        .map(|(name, value)| EnvVar {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        })
        .collect()
}

pub(super) fn service(name: &str, options: &Options) -> Service {
    Service {
        metadata: metadata(name, options),
        spec: Some(ServiceSpec {
            selector: Some(labels(name)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: 80,
                target_port: Some(IntOrString::String("http".to_owned())),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn metadata(name: &str, options: &Options) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(options.namespace.clone()),
        labels: Some(labels(name)),
        ..Default::default()
    }
}

fn labels(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app.kubernetes.io/name".to_owned(), name.to_owned())])
}

fn quantities<const N: usize>(amounts: [(&str, &str); N]) -> BTreeMap<String, Quantity> {
    amounts
        .map(|(what, amount)| (what.to_owned(), Quantity(amount.to_owned())))
        .into()
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..Default::default()
        }),
        period_seconds: Some(5),
        ..Default::default()
    }
}

fn mount(name: &str, path: &str, read_only: Option<bool>) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..Default::default()
    }
}
