//! Where processes find each other, as the settings choose it, and the keys by which they trust each other.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use discovery::{Clients, Instance, StaticList};
use env::config::{Loader, Secret};
use identity::{Issuer, Keyring};
use outrigger::{Platform, Settings, prelude::*, settings::Registry};
use servers::Nats;

type Done = Result<(), BoxError>;

const SERVICE: &str = "greeter-service";

/// Of a process called `name`, whose keys are those of all in `folder`.
fn settings(folder: &Path, name: &str, nats: &Nats) -> Settings {
    let mut settings = Settings {
        data: folder.join(name),
        ..Settings::default()
    };
    settings.security.keys = Some(folder.join("keys.json"));
    settings.discovery.registry = Some(Registry::Nats(Secret::new(nats.url())));
    settings
}

fn greeting() -> System {
    System::new("greeting").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("greeting").apis(["/greeting"]))
            .routes(Router::new().route("/greeting", get(async || Json("hello")))),
    )
}

#[tokio::test]
async fn processes_find_each_other_by_a_registry_in_nats() -> Done {
    let nats = Nats::start(servers::nats::Options::default()).await?;
    let folder = tempfile::tempdir()?;
    let platform = Platform::alone(settings(folder.path(), "greeter", &nats), SERVICE).await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = greeting()
        .start_service(SERVICE, &platform, anywhere)
        .await?;

    let caller = settings(folder.path(), "caller", &nats);
    let other = Platform::alone(caller.clone(), "caller-service").await?;
    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(other.keyring().clone(), "caller-service", grants);
    let client = Clients::new(other.registry().clone(), Some(issuer)).client(SERVICE);
    let heard = client.get::<String>("/greeting", &[]).await?;
    assert_eq!(heard.as_deref(), Some("hello"));

    running.stop().await;
    let gone = client.get::<String>("/greeting", &[]).await;
    assert!(gone.is_err(), "it has left");
    for platform in [platform, other] {
        platform.stop().await;
    }
    Ok(())
}

/// What a registry is called in the settings chooses it, and every other word is refused.
#[tokio::test]
async fn the_settings_choose_among_all_registries() -> Done {
    let load = |registry: &str| -> Result<Settings, env::config::Error> {
        let text = format!("[discovery]\nregistry = \"{registry}\"");
        Loader::default()
            .text(Path::new("outrigger.toml"), &text)?
            .load()
    };
    let folder = tempfile::tempdir()?;
    for registry in [
        "in-process",
        "static",
        "http://127.0.0.1:1",
        "https://127.0.0.1:1",
        "nats://user:hidden@127.0.0.1:1",
        "dns://{service}.shop.local:8080?every=5s",
        "kubernetes://shop?port=http",
    ] {
        let mut settings = load(registry)?;
        let chosen = settings
            .discovery
            .registry
            .clone()
            .ok_or("chosen")?
            .to_string();
        if registry.contains("hidden") {
            assert_eq!(chosen, "nats://[secret]");
        } else {
            assert_eq!(chosen, registry);
        }
        settings.data = folder.path().to_owned();
        let platform = Platform::alone(settings, SERVICE).await;
        if registry.starts_with("kubernetes") {
            let said = env::chain(&platform.err().ok_or("this is no pod")?);
            assert!(said.contains("no pod of a Kubernetes cluster"), "{said}");
        } else {
            platform?.stop().await;
        }
    }
    for (wrong, right) in [
        ("consul://host", "`nats://host:4222`, `kubernetes`"),
        ("", "`static`"),
        ("statics", "`static`"),
        ("kubernetes.local", "`kubernetes://shop?port=http`"),
        ("dns://users:80", "`dns://{service}.shop.local:8080`"),
        ("http://hub:7700/v1", "a path has no meaning there"),
    ] {
        let error = load(wrong).expect_err(wrong).to_string();
        assert!(error.contains("`discovery.registry` wrongly"), "{error}");
        assert!(error.contains(right), "{error}");
    }
    Ok(())
}

/// Another process makes new keys; those that run hear of it, without a restart.
#[tokio::test]
async fn keys_that_are_rotated_reach_the_services_that_run() -> Done {
    let folder = tempfile::tempdir()?;
    let text = format!("data = {:?}\n[security]\nrefresh = \"50ms\"", folder.path());
    let settings: Settings = Loader::default()
        .text(Path::new("outrigger.toml"), &text)?
        .load()?;
    let platform = Platform::alone(settings.clone(), SERVICE).await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = greeting()
        .start_service(SERVICE, &platform, anywhere)
        .await?;
    let rotating = Keyring::load(&settings.keys_file())?;
    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(rotating.clone(), "caller-service", grants);
    let at = Instance::new(SERVICE, running.address());
    let client = Clients::new(Arc::new(StaticList::new([at])), Some(issuer)).client(SERVICE);
    let ask = async || client.get::<String>("/greeting", &[]).await;
    assert!(ask().await?.is_some());

    // It signs at once here, which nobody can know yet.
    rotating.rotate(Duration::ZERO)?;
    let known = async {
        while ask().await.is_err() {
            env::sleep(Duration::from_millis(10)).await;
        }
    };
    env::timeout(Duration::from_secs(30), known).await?;
    assert_eq!(platform.keyring().jwks().ids(), rotating.jwks().ids());

    running.stop().await;
    platform.stop().await;
    Ok(())
}
