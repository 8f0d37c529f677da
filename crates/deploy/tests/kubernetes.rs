//! The manifests are what the Kubernetes API takes, and say what the system says.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1,
    rbac::v1::{Role, RoleBinding},
};
use outrigger::{Boundary, Service, Settings, System, env::config::Loader, settings::Registry};
use outrigger_deploy::{
    Error,
    kubernetes::{Options, render},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn system() -> System {
    System::new("shop")
        .service(Service::new("user-service").boundary(Boundary::of("users").apis(["/users"])))
        .service(
            Service::new("order-service").boundary(
                Boundary::of("orders")
                    .apis(["/orders", "/order-history"])
                    .depends_on(["user-service"]),
            ),
        )
}

fn options() -> Options {
    Options {
        image: "registry.example/shop:1.0.0".to_owned(),
        namespace: "shop".to_owned(),
    }
}

fn manifests() -> Vec<Value> {
    let yaml = render(&system(), &options()).expect("rendered");
    serde_yaml_ng::Deserializer::from_str(&yaml)
        .map(|document| Value::deserialize(document).expect("a document"))
        .collect()
}

fn named<'a>(manifests: &'a [Value], kind: &str, name: &str) -> &'a Value {
    manifests
        .iter()
        .find(|manifest| manifest["kind"] == kind && manifest["metadata"]["name"] == name)
        .expect("the manifest is there")
}

/// The typed API holds every field of the manifest: reading it in and writing it out loses nothing.
fn fits<T: DeserializeOwned + Serialize>(manifest: &Value) {
    let typed: T = serde_json::from_value(manifest.clone()).expect("the API takes it");
    assert_eq!(&serde_json::to_value(&typed).expect("written"), manifest);
}

#[test]
fn every_manifest_fits_the_kubernetes_api() {
    let manifests = manifests();
    assert_eq!(manifests.len(), 3 + 2 * 4 + 2);
    for manifest in &manifests {
        match manifest["kind"].as_str() {
            Some("Deployment") => fits::<Deployment>(manifest),
            Some("ServiceAccount") => fits::<v1::ServiceAccount>(manifest),
            Some("Role") => fits::<Role>(manifest),
            Some("RoleBinding") => fits::<RoleBinding>(manifest),
            Some("Service") => fits::<v1::Service>(manifest),
            Some("PersistentVolumeClaim") => fits::<v1::PersistentVolumeClaim>(manifest),
            Some("HTTPRoute") => assert_eq!(manifest["apiVersion"], "gateway.networking.k8s.io/v1"),
            other => panic!("unexpected kind {other:?}"),
        }
    }
}

#[test]
fn a_service_selects_the_pods_of_its_deployment() {
    let manifests = manifests();
    let deployment = named(&manifests, "Deployment", "order-service");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = named(&manifests, "Service", "order-service")["spec"]["selector"].as_object();
    for (label, value) in selector.expect("a selector") {
        assert_eq!(&labels[label], value);
    }
}

#[test]
fn a_service_that_calls_others_may_look_where_they_are_and_no_other_may() {
    let manifests = manifests();
    let pod = |name| &named(&manifests, "Deployment", name)["spec"]["template"]["spec"];
    let registry = json!({ "name": "OUTRIGGER_DISCOVERY__REGISTRY", "value": "kubernetes" });
    let chooses = |name| {
        let environment = &pod(name)["containers"][0]["env"];
        environment
            .as_array()
            .expect("variables")
            .contains(&registry)
    };
    for caller in ["order-service", "gateway"] {
        assert!(chooses(caller));
        assert_eq!(pod(caller)["serviceAccountName"], "shop");
        assert_eq!(pod(caller)["automountServiceAccountToken"], true);
    }
    assert!(!chooses("user-service"));
    assert_eq!(pod("user-service")["automountServiceAccountToken"], false);

    let role = named(&manifests, "Role", "shop");
    let rules = json!([{
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["get", "list", "watch"],
    }]);
    assert_eq!(role["rules"], rules);
    let binding = named(&manifests, "RoleBinding", "shop");
    let account = json!([{ "kind": "ServiceAccount", "name": "shop", "namespace": "shop" }]);
    assert_eq!(binding["subjects"], account);
    assert_eq!(binding["roleRef"]["name"], "shop");
}

#[test]
fn what_a_process_is_told_are_settings_that_it_can_read() {
    let manifests = manifests();
    let deployment = named(&manifests, "Deployment", "order-service");
    let told = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    let told = told.as_array().expect("variables").iter().map(|variable| {
        let text = |key: &str| variable[key].as_str().expect("text").to_owned();
        (text("name"), text("value"))
    });
    let loader = Loader::default().variables("OUTRIGGER_", told);
    let settings: Settings = loader.load().expect("settings");
    let registry = settings.discovery.registry.expect("it is set");
    assert!(matches!(registry, Registry::Kubernetes(_)), "{registry}");
}

#[test]
fn a_route_leads_each_api_to_the_gateway() {
    let manifests = manifests();
    let rule = &named(&manifests, "HTTPRoute", "order-service")["spec"]["rules"][0];
    assert_eq!(rule["matches"][0]["path"]["value"], "/orders");
    assert_eq!(rule["matches"][1]["path"]["value"], "/order-history");
    assert_eq!(rule["backendRefs"][0]["name"], "gateway");
}

#[test]
fn names_that_no_cluster_takes_are_refused() {
    let spaced = Options {
        image: "shop latest".to_owned(),
        ..options()
    };
    assert!(matches!(render(&system(), &spaced), Err(Error::Image(_))));
    let capital = Options {
        namespace: "Shop".to_owned(),
        ..options()
    };
    assert!(matches!(
        render(&system(), &capital),
        Err(Error::Namespace(_))
    ));
}
