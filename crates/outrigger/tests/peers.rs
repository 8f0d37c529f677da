//! Services that are processes of their own find each other under `peers`, each at one address or several.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use discovery::{Client, Clients};
use identity::Issuer;
use outrigger::{
    Platform, RunningService, Settings,
    env::config::{Error, Loader},
    prelude::*,
};

type Done = Result<(), BoxError>;

const SERVICE: &str = "greeter-service";

fn load(text: &str) -> Result<Settings, Error> {
    Loader::default()
        .text(Path::new("outrigger.toml"), text)?
        .load()
}

/// Of a process called `name`, whose keys are those of all in `folder`.
fn settings(folder: &Path, name: &str, text: &str) -> Result<Settings, Error> {
    let mut settings = load(text)?;
    settings.data = folder.join(name);
    settings.security.keys = Some(folder.join("keys.json"));
    Ok(settings)
}

/// A process of the service, which greets with its own `name`.
async fn greeter(
    folder: &Path,
    name: &'static str,
) -> Result<(Platform, RunningService), BoxError> {
    let greet = async move || Json(name);
    let system = System::new("greeting").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("greeting").apis(["/greeting"]))
            .routes(Router::new().route("/greeting", get(greet))),
    );
    let platform = Platform::alone(settings(folder, name, "")?, SERVICE).await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = system.start_service(SERVICE, &platform, anywhere).await?;
    Ok((platform, running))
}

fn client(platform: &Platform) -> Client {
    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(platform.keyring().clone(), "test", grants);
    Clients::new(platform.registry().clone(), Some(issuer)).client(SERVICE)
}

#[tokio::test]
async fn a_service_at_several_addresses_is_called_at_each_and_answers_while_one_is_left() -> Done {
    let folder = tempfile::tempdir()?;
    let mut greeters = Vec::new();
    for name in ["ada", "grace"] {
        greeters.push(greeter(folder.path(), name).await?);
    }
    let addresses = greeters.iter().map(|(_, it)| it.address().to_string());
    let addresses: Vec<_> = addresses.collect();
    let text = format!("[peers]\n{SERVICE} = {addresses:?}");
    let platform = Platform::alone(settings(folder.path(), "caller", &text)?, "test").await?;
    let client = client(&platform);
    let greeting = async || client.get::<String>("/greeting", &[]).await;

    let mut heard = BTreeSet::new();
    for _ in 0..200 {
        heard.extend(greeting().await?);
    }
    assert_eq!(heard, BTreeSet::from(["ada", "grace"].map(str::to_owned)));

    let (gone, service) = greeters.remove(0);
    service.stop().await;
    gone.stop().await;
    for _ in 0..50 {
        assert_eq!(greeting().await?.as_deref(), Some("grace"));
    }
    let (last, service) = greeters.remove(0);
    service.stop().await;
    last.stop().await;
    platform.stop().await;
    Ok(())
}

#[test]
fn an_address_may_be_one_or_several_but_not_none() -> Done {
    let text = "[peers]\na-service = \"a:1\"\nb-service = [\"b:1\", \"b:2\"]";
    let peers = load(text)?.peers;
    let of = |name: &str| peers[name].iter().collect::<Vec<_>>();
    assert_eq!(of("a-service"), ["a:1"]);
    assert_eq!(of("b-service"), ["b:1", "b:2"]);
    // Written and read again, they are the same.
    let again: Settings = load(&format!(
        "[peers]\nb-service = {}",
        serde_json::to_string(&peers["b-service"])?
    ))?;
    assert_eq!(again.peers["b-service"], peers["b-service"]);
    for (wrong, why) in [("[]", "invalid length 0"), ("7", "invalid type: integer")] {
        let error = load(&format!("[peers]\na-service = {wrong}")).expect_err(wrong);
        let said = error.to_string();
        let key = "outrigger.toml sets `peers.a-service` wrongly: ";
        assert!(said.starts_with(key), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(
            said.ends_with("expected a `host:port`, or a list of them"),
            "{said}"
        );
    }
    Ok(())
}
