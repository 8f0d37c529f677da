//! Who may ask the API server, and for what: for the EndpointSlices of the namespace.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use outrigger::System;

use super::{Options, workload::metadata};

const GROUP: &str = "rbac.authorization.k8s.io";

/// As whom the processes run that call others.
pub(super) fn account(system: &System, options: &Options) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(system.name(), options),
        ..Default::default()
    }
}

pub(super) fn role(system: &System, options: &Options) -> Role {
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    Role {
        metadata: metadata(system.name(), options),
        rules: Some(vec![PolicyRule {
            api_groups: Some(named(&["discovery.k8s.io"])),
            resources: Some(named(&["endpointslices"])),
            verbs: named(&["get", "list", "watch"]),
            ..Default::default()
        }]),
    }
}

pub(super) fn binding(system: &System, options: &Options) -> RoleBinding {
    RoleBinding {
        metadata: metadata(system.name(), options),
        role_ref: RoleRef {
            api_group: Some(GROUP.to_owned()),
            kind: "Role".to_owned(),
            name: system.name().to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: system.name().to_owned(),
            namespace: Some(options.namespace.clone()),
            ..Default::default()
        }]),
    }
}
