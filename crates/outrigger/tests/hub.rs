//! Services in platforms of their own, as if they were processes, find each other at a hub.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use discovery::{Clients, HUB, Hub, registry::Listed};
use identity::{CALL, Issuer, Keyring};
use outrigger::{
    Error, Platform, RunningHub, RunningService, Settings, env::config::Loader, events::CloudEvent,
    prelude::*,
};

type Done = Result<(), BoxError>;

const SERVICE: &str = "greeter-service";
const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn system() -> System {
    let greet = async || Json("hello");
    System::new("greeting").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("greeting").apis(["/greeting"]))
            .routes(Router::new().route("/greeting", get(greet))),
    )
}

/// Of a process called `name`, whose keys are those of all in `folder`.
fn settings(folder: &Path, name: &str, more: &str) -> Result<Settings, BoxError> {
    let text = format!(
        "data = {:?}\n[security]\nkeys = {:?}\n[discovery]\nheartbeat = \"50ms\"\n{more}",
        folder.join(name),
        folder.join("keys.json"),
    );
    Ok(Loader::default()
        .text(Path::new("outrigger.toml"), &text)?
        .load()?)
}

/// A process of the service that joins the hub at `hub`.
async fn greeter(
    folder: &Path,
    hub: SocketAddr,
    listen: &str,
    advertise: &str,
) -> Result<(Platform, RunningService), BoxError> {
    let more = format!("{advertise}\n[hub]\nurl = \"http://{hub}\"");
    let platform = Platform::alone(settings(folder, "greeter", &more)?, SERVICE).await?;
    let running = system()
        .start_service(SERVICE, &platform, listen.parse()?)
        .await?;
    Ok((platform, running))
}

fn issuer(folder: &Path, audience: &str) -> Result<Issuer, BoxError> {
    let grants = BTreeMap::from([(audience.to_owned(), vec![CALL.to_owned()])]);
    let keyring = Keyring::load(&folder.join("keys.json"))?;
    Ok(Issuer::new(keyring, "test", grants))
}

/// All that the hub knows.
async fn listed(folder: &Path, hub: SocketAddr) -> Result<Vec<Listed>, BoxError> {
    let hub = Hub::new(&format!("http://{hub}"), Some(issuer(folder, HUB)?))?;
    Ok(hub.instances().await?)
}

/// Clients that find the service at the hub.
fn clients(folder: &Path, hub: SocketAddr) -> Result<Clients, BoxError> {
    let registry = Hub::new(&format!("http://{hub}"), Some(issuer(folder, HUB)?))?;
    let issuer = issuer(folder, SERVICE)?;
    Ok(Clients::new(Arc::new(registry), Some(issuer)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_joins_is_found_and_leaves_and_a_restarted_hub_knows_it_still() -> Done {
    let folder = tempfile::tempdir()?;
    let of_hub = settings(folder.path(), "hub", "")?;
    let hub = RunningHub::start(&of_hub, ANYWHERE).await?;
    let at = hub.address();
    let (platform, service) = greeter(folder.path(), at, "127.0.0.1:0", "").await?;
    let clients = clients(folder.path(), at)?;
    let client = clients.client(SERVICE);
    let greeting: Option<String> = client.get("/greeting", &[]).await?;
    assert_eq!(greeting.as_deref(), Some("hello"));
    let before = listed(folder.path(), at).await?;
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].instance.address, service.address());

    hub.stop().await;
    let greeting: Option<String> = client.get("/greeting", &[]).await?;
    assert_eq!(
        greeting.as_deref(),
        Some("hello"),
        "nobody needs it to call"
    );
    let hub = RunningHub::start(&of_hub, at).await?;
    let after = listed(folder.path(), at).await?;
    assert_eq!(after[0].instance, before[0].instance, "it forgets nothing");

    service.stop().await;
    platform.stop().await;
    assert!(listed(folder.path(), at).await?.is_empty());
    hub.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_before_its_hub_and_is_found_once_that_is_there() -> Done {
    let folder = tempfile::tempdir()?;
    let nobody = env::net::listen(ANYWHERE).await?.local_addr()?;
    let (platform, service) = greeter(folder.path(), nobody, "127.0.0.1:0", "").await?;
    let hub = RunningHub::start(&settings(folder.path(), "hub", "")?, nobody).await?;
    let clients = clients(folder.path(), nobody)?;
    let client = clients.client(SERVICE);
    let found = async {
        loop {
            if let Ok(Some(greeting)) = client.get::<String>("/greeting", &[]).await {
                return greeting;
            }
            env::sleep(Duration::from_millis(20)).await;
        }
    };
    let greeting = env::timeout(Duration::from_secs(30), found).await?;
    assert_eq!(greeting, "hello");
    service.stop().await;
    platform.stop().await;
    hub.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_listens_everywhere_registers_where_others_reach_it() -> Done {
    let folder = tempfile::tempdir()?;
    let hub = RunningHub::start(&settings(folder.path(), "hub", "")?, ANYWHERE).await?;
    let at = hub.address();
    for (advertise, ip, port) in [
        ("", "127.0.0.1", None), // of the way to this hub
        ("advertise = \"10.9.8.7\"", "10.9.8.7", None),
        ("advertise = \"10.9.8.7:80\"", "10.9.8.7", Some(80)),
        ("advertise = \"[fd00::7]:80\"", "fd00::7", Some(80)),
    ] {
        let (platform, service) = greeter(folder.path(), at, "0.0.0.0:0", advertise).await?;
        let port = port.unwrap_or(service.address().port());
        let expected = SocketAddr::new(ip.parse()?, port);
        assert_eq!(
            listed(folder.path(), at).await?[0].instance.address,
            expected
        );
        service.stop().await;
        platform.stop().await;
    }
    for wrong in ["0.0.0.0", "10.9.8.7:0", "224.0.0.1", "hub.local"] {
        let advertise = format!("advertise = \"{wrong}\"");
        let error = settings(folder.path(), "greeter", &advertise).expect_err(wrong);
        let said = error.to_string();
        assert!(
            said.contains("discovery.advertise") && said.contains("others can connect to"),
            "{said}"
        );
    }
    hub.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_closed_who_has_other_keys_or_another_name_does_not_use_the_hub() -> Done {
    let (folder, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let hub = RunningHub::start(&settings(folder.path(), "hub", "")?, ANYWHERE).await?;
    let at = hub.address();
    let stranger = greeter(elsewhere.path(), at, "127.0.0.1:0", "").await;
    let said = env::chain(&*stranger.err().expect("other keys"));
    assert!(said.contains("cannot start its registration"), "{said}");
    let open = Hub::new(&format!("http://{at}"), None)?;
    assert!(open.instances().await.is_err(), "no token");

    // With the right keys, but as another service.
    let more = format!("[hub]\nurl = \"http://{at}\"");
    let platform = Platform::alone(settings(folder.path(), "x", &more)?, "x-service").await?;
    let foreign = system().start_service(SERVICE, &platform, ANYWHERE).await;
    assert!(foreign.is_err(), "it has no say over another service");
    platform.stop().await;
    hub.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_outside_join_the_hub_of_a_system_in_one_process() -> Done {
    let folder = tempfile::tempdir()?;
    let inside = Platform::with_hub(settings(folder.path(), "up", "")?, ANYWHERE).await?;
    let at = inside.hub().ok_or("a hub")?;
    let service = system().start_service(SERVICE, &inside, ANYWHERE).await?;
    let (platform, outside) = greeter(folder.path(), at, "127.0.0.1:0", "").await?;
    let found = listed(folder.path(), at).await?;
    let mut found: Vec<_> = found.iter().map(|it| it.instance.address).collect();
    let mut both = [service.address(), outside.address()];
    found.sort();
    both.sort();
    assert_eq!(found, both);
    let clients = clients(folder.path(), at)?;
    let greeting: Option<String> = clients.client(SERVICE).get("/greeting", &[]).await?;
    assert_eq!(greeting.as_deref(), Some("hello"));

    // It is gone without a word, and those inside are gone with it; who is outside is known to the next.
    service.stop().await;
    inside.stop().await;
    let inside = Platform::with_hub(settings(folder.path(), "up", "")?, at).await?;
    let found = listed(folder.path(), at).await?;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instance.address, outside.address());
    outside.stop().await;
    platform.stop().await;
    inside.stop().await;
    Ok(())
}

#[tokio::test]
async fn others_that_are_to_be_found_in_two_ways_are_refused_and_a_hub_may_be_named_twice() -> Done
{
    let folder = tempfile::tempdir()?;
    let (hub, peers) = (
        "[hub]\nurl = \"http://hub:7700\"",
        "[peers]\na-service = \"a:1\"",
    );
    for twofold in [
        format!("{hub}\n{peers}"),
        format!("registry = \"nats://nats:4222\"\n{hub}"),
        format!("registry = \"static\"\n{hub}"),
        format!("registry = \"http://other:7700\"\n{hub}"),
        format!("registry = \"http://hub:7700\"\n{peers}"),
        format!("registry = \"dns://{{service}}.shop:80\"\n{peers}"),
    ] {
        let platform = Platform::alone(settings(folder.path(), "x", &twofold)?, SERVICE).await;
        let error = platform.err().ok_or(twofold)?;
        assert!(matches!(error, Error::FoundTwice { .. }), "{error:?}");
    }
    let twice = format!("registry = \"http://hub:7700\"\n{hub}");
    let platform = Platform::alone(settings(folder.path(), "x", &twice)?, SERVICE).await?;
    platform.stop().await;
    Ok(())
}

/// What a process says to a hub with an `https` URL is encrypted: who is where, and events.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_behind_tls_is_the_registry_and_the_bus_of_who_names_it() -> Done {
    let folder = tempfile::tempdir()?;
    let hub = RunningHub::start(&settings(folder.path(), "hub", "")?, ANYWHERE).await?;
    let tls = servers::Tls::before(hub.address()).await?;
    let url = format!("https://{}?ca={}", tls.address(), tls.authority().display());
    let more = format!("registry = \"{url}\"");
    let platform = Platform::alone(settings(folder.path(), "greeter", &more)?, SERVICE).await?;
    let service = system().start_service(SERVICE, &platform, ANYWHERE).await?;
    assert_eq!(listed(folder.path(), hub.address()).await?.len(), 1);

    let (guest, greeting) = ("guest-service", ["greeting.*".to_owned()]);
    let joined = platform.bus_of(guest).subscribe(guest, &greeting).await?;
    let mut event = CloudEvent::new("greeting.given", "door", serde_json::json!({}));
    event.source = SERVICE.to_owned();
    platform.bus_of(SERVICE).publish(vec![event]).await?;
    let heard = env::timeout(Duration::from_secs(30), joined.next(1)).await??;
    assert_eq!(heard[0].event.kind, "greeting.given");

    service.stop().await;
    platform.stop().await;
    hub.stop().await;
    Ok(())
}
