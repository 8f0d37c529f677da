//! The verbs for those who look after the shop, on its data while it runs and after it stopped.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use contracts::{Currency, Money, inventory::Line, order::Customer};
use order::place_order::{PlaceOrder, place_order};
use outrigger::{
    GatewayClient, Platform, Settings,
    data::{Database, params},
    env::BoxError,
    events::{Bus as _, CloudEvent, EmbeddedBus},
    lifecycle::Running,
    saga::Sagas,
};
use serde_json::{Value, json};

type Done = Result<(), BoxError>;

/// The shop, on the data in `folder`.
async fn open(folder: &Path) -> Result<Running, BoxError> {
    let settings = Settings {
        data: folder.to_owned(),
        gateway: outrigger::settings::Gateway {
            listen: ([127, 0, 0, 1], 0).into(),
        },
        ..Settings::default()
    };
    let platform = Platform::embedded(settings).await?;
    Ok(shop::system().start(platform).await?)
}

/// Runs a verb on the data in `folder`.
fn shop(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(arguments)
        .arg("--data")
        .arg(folder)
        .output()
        .expect("the binary runs")
}

/// What it says to programs.
fn json(folder: &Path, arguments: &[&str]) -> Result<Value, BoxError> {
    let output = shop(folder, &[arguments, &["--output", "json"]].concat());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Its complaint about what cannot be done.
fn complaint(folder: &Path, arguments: &[&str]) -> String {
    let output = shop(folder, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(output.stdout.is_empty(), "{arguments:?} said something");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the order service could not handle, by the ids of the events, once there are `count`.
async fn dead(folder: &Path, count: usize) -> Result<Vec<String>, BoxError> {
    for _ in 0..1000 {
        let list = ["dead-letters", "list", "--service", "order-service"];
        let listed = json(folder, &list)?;
        let letters = listed["deadLetters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if letters.len() == count {
            let id = |it: &Value| it["deadLetter"]["event"]["id"].as_str().map(str::to_owned);
            return Ok(letters.iter().filter_map(id).collect());
        }
        outrigger::env::sleep(std::time::Duration::from_millis(20)).await;
    }
    Err(format!("there are no {count} dead letters").into())
}

/// A process of one service, which dies with this, and where it listens.
struct Process(Child, SocketAddr);

impl Process {
    fn serve(folder: &Path, service: &str) -> Result<Self, BoxError> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_shop"))
            .args(["serve", service, "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        let screen = process.stdout.take().ok_or("no standard output")?;
        BufReader::new(screen).read_line(&mut ready)?;
        let (_, address) = ready.split_once("ready at http://").ok_or(&*ready)?;
        Ok(Self(process, address.trim().parse()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// An event that says of a user what cannot be read.
fn poison(id: &str, user: &str) -> CloudEvent {
    let mut event = CloudEvent::new("user.updated", user, json!({ "id": 7 }));
    (event.id, event.source) = (id.to_owned(), "user-service".to_owned());
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_edited_replayed_and_dropped() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let running = open(folder).await?;
    let users = ["1", "2", "3", "4"].map(|id| poison(id, id));
    running.platform().bus().publish(users.to_vec()).await?;
    assert_eq!(dead(folder, 4).await?, ["1", "2", "3", "4"]);

    let shown = json(folder, &["dead-letters", "show", "2"])?;
    assert_eq!(shown["service"], "order-service");
    assert_eq!(shown["deadLetter"]["event"]["data"], json!({ "id": 7 }));
    let listed = shop(folder, &["dead-letters", "list", "--type", "user.updated"]);
    let listed = String::from_utf8(listed.stdout)?;
    assert!(listed.contains("4 dead letter(s)"), "{listed}");

    let good = json!({ "userId": "2", "name": "Ada", "email": "ada@example.com", "version": 2 });
    let edit = ["dead-letters", "replay", "2", "--edit", &good.to_string()];
    assert_eq!(json(folder, &edit)?, json!({ "replayed": 1 }));
    assert_eq!(dead(folder, 3).await?, ["1", "3", "4"]);
    let one = ["dead-letters", "drop", "1"];
    assert_eq!(json(folder, &one)?, json!({ "dropped": 1 }));
    let all = ["dead-letters", "replay", "--type", "user.updated"];
    assert_eq!(json(folder, &all)?, json!({ "replayed": 2 }));
    assert_eq!(dead(folder, 2).await?, ["3", "4"], "as poisonous as before");
    running.stop().await;

    // The shop has stopped.
    let all = ["dead-letters", "drop", "--type", "user.updated"];
    assert_eq!(json(folder, &all)?, json!({ "dropped": 2 }));
    for again in [
        &["dead-letters", "show", "3"],
        &["dead-letters", "replay", "3"],
    ] {
        let said = complaint(folder, again);
        assert!(
            said.contains("a dead letter 3; `dead-letters list`"),
            "{said}"
        );
    }
    let said = complaint(folder, &["dead-letters", "replay", "3", "--edit", "{"]);
    assert!(said.contains("takes JSON"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_sent_again_to_nobodys_surprise() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let running = open(folder).await?;
    let gateway = GatewayClient::new(running.gateway().ok_or("no gateway")?);
    let ada = json!({ "id": "ada", "name": "Ada", "email": "ada@example.com" });
    assert_eq!(gateway.post("/users", &ada).await?.status, 201);
    running.stop().await;
    let unsent = |service: &str| -> Result<Value, BoxError> {
        let status = json(folder, &["outbox", "status", "--service", service])?;
        Ok(status["outboxes"][0]["unsent"].clone())
    };
    assert_eq!(unsent("user-service")?, 0);

    let said = complaint(folder, &["outbox", "replay", "--since", "1h"]);
    assert!(
        said.contains("--service NAME") && said.contains("--all"),
        "{said}"
    );
    let said = complaint(folder, &["outbox", "replay", "--all", "--since=-1h"]);
    assert!(said.contains("has no sign"), "{said}");
    let said = complaint(folder, &["outbox", "status", "--service", "users"]);
    assert!(
        said.contains("user-service"),
        "it names those that there are: {said}"
    );
    let others = [
        "outbox",
        "replay",
        "--service",
        "payment-service",
        "--since",
        "1h",
    ];
    assert_eq!(json(folder, &others)?, json!({ "replayed": 0 }));
    let all = [
        "outbox",
        "replay",
        "--all",
        "--since",
        "2026-01-01T00:00:00Z",
    ];
    // With it what others have published since, as far as they came before they stopped.
    let replayed = json(folder, &all)?["replayed"].as_u64();
    assert!(replayed.is_some_and(|count| count >= 1), "{replayed:?}");
    assert_eq!(unsent("user-service")?, 1);
    let said = complaint(folder, &["outbox", "drop", "no-such-event"]);
    assert!(said.contains("no-such-event"), "{said}");

    let running = open(folder).await?;
    let sent = async {
        while unsent("user-service").is_ok_and(|count| count != 0) {
            outrigger::env::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    outrigger::env::timeout(std::time::Duration::from_secs(20), sent).await?;
    running.stop().await;
    let audited = json(folder, &["audit"])?;
    assert_eq!(audited["violations"], json!([]));
    assert_eq!(
        audited["unrest"],
        json!([]),
        "it is at rest, and nothing happened twice"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_are_listed_paused_resumed_and_reset() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let listed = |member: &str| -> Result<Value, BoxError> {
        let list = json(folder, &["projections", "list"])?;
        assert_eq!(list["projections"][0]["service"], "order-service");
        Ok(list["projections"][0]["projection"][member].clone())
    };
    let running = open(folder).await?;
    let gateway = GatewayClient::new(running.gateway().ok_or("no gateway")?);
    let ada = json!({ "id": "ada", "name": "Ada", "email": "ada@example.com" });
    assert_eq!(gateway.post("/users", &ada).await?.status, 201);
    let lamp = json!({ "id": "lamp", "name": "Lamp", "price": 12.5, "stock": 9 });
    assert_eq!(gateway.post("/products", &lamp).await?.status, 201);
    let order = json!({ "userId": "ada", "items": [{ "productId": "lamp", "quantity": 1 }] });
    let history = async |running: &Running, orders: usize| -> Done {
        let gateway = GatewayClient::new(running.gateway().ok_or("no gateway")?);
        for _ in 0..1000 {
            let found = gateway.get("/order-history?userId=ada").await?;
            if found.body["items"]
                .as_array()
                .is_some_and(|all| all.len() == orders)
            {
                return Ok(());
            }
            outrigger::env::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err(format!("there are no {orders} orders in the history").into())
    };
    assert_eq!(gateway.post("/orders", &order).await?.status, 201);
    history(&running, 1).await?;
    assert_eq!(
        (listed("name")?, listed("state")?),
        (json!("order-history"), json!("serving"))
    );

    json(folder, &["projections", "pause", "order-history"])?;
    assert_eq!(listed("paused")?, true);
    assert_eq!(gateway.post("/orders", &order).await?.status, 201);
    json(folder, &["projections", "resume", "order-history"])?;
    history(&running, 2).await?;
    running.stop().await;

    let before = listed("position")?;
    json(folder, &["projections", "reset", "order-history"])?;
    assert_ne!(listed("position")?, before, "it is at the beginning");
    let running = open(folder).await?;
    history(&running, 2).await?;
    running.stop().await;
    assert_eq!(listed("position")?, before);
    let said = complaint(folder, &["projections", "reset", "nothing"]);
    assert!(said.contains("`projections list` shows"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_a_service_in_a_process_of_its_own_is_where_the_verbs_look() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let order = Process::serve(folder, "order-service")?;
    let _user = Process::serve(folder, "user-service")?;
    let bus = format!("sqlite:{}", folder.join("bus.sqlite").display());
    let bus = EmbeddedBus::open(&bus).await?;
    bus.publish(vec![poison("1", "1")]).await?;
    assert_eq!(dead(folder, 1).await?, ["1"]);

    drop(order);
    assert_eq!(dead(folder, 1).await?, ["1"], "also after a crash");
    let one = ["dead-letters", "drop", "1"];
    assert_eq!(json(folder, &one)?, json!({ "dropped": 1 }));
    // One key file, so what one process signs the other believes.
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        keys.extend(Some(name).filter(|name| name.contains("keys")));
    }
    assert_eq!(keys, ["keys.json"]);
    Ok(())
}

#[test]
fn where_there_is_no_data_a_verb_says_so_and_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for verb in [
        &["dead-letters", "list"][..],
        &["dead-letters", "replay", "--type", "user.updated"],
        &["outbox", "status"],
        &["outbox", "replay", "--all", "--since", "1h"],
        &["sagas", "list"],
        &["bus", "groups"],
        &["audit"],
    ] {
        let said = complaint(folder, verb);
        let names = said.contains("no service of shop has run on") && said.contains("--data");
        assert!(names, "{verb:?}: {said}");
    }
    let one = ["outbox", "status", "--service", "order-service"];
    let said = complaint(folder, &one);
    assert!(said.contains("order-service never ran on"), "{said}");
    let files = std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(files, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_changes_nothing() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    open(folder).await?.stop().await;
    let before = contents(folder)?;
    for verb in [
        &["dead-letters", "list"][..],
        &["outbox", "status"],
        &["sagas", "list"],
        &["bus", "groups"],
        &["audit"],
    ] {
        json(folder, verb)?;
        assert_eq!(contents(folder)?, before, "{verb:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_without_the_database_of_a_service_says_which_and_fails() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    open(folder).await?.stop().await;
    assert_eq!(json(folder, &["audit"])?["missing"], json!([]));
    std::fs::remove_file(folder.join("payment-service.sqlite"))?;
    let audit = shop(folder, &["audit"]);
    let said = String::from_utf8(audit.stdout)?;
    assert!(
        said.starts_with("no database: payment-service has none at sqlite:")
            && !audit.status.success(),
        "{said}"
    );
    let audit = shop(folder, &["audit", "--output", "json"]);
    let said: Value = serde_json::from_slice(&audit.stdout)?;
    assert_eq!(
        (&said["missing"], &said["violations"], audit.status.code()),
        (&json!(["payment-service"]), &json!([]), Some(1))
    );
    Ok(())
}

/// The databases, byte by byte.
fn contents(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, BoxError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.display().to_string();
        if name.ends_with(".sqlite") {
            found.push((name, std::fs::read(path)?));
        }
    }
    found.sort();
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_on_the_bus_of_a_service_that_is_no_more_is_forgotten() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let running = open(folder).await?;
    let types = ["user.*".to_owned()];
    let bus = running.platform().bus();
    drop(bus.subscribe("customer-service", &types).await?);
    bus.publish(vec![poison("1", "1")]).await?;
    assert_eq!(dead(folder, 1).await?, ["1"]);

    let pending = || -> Result<Option<Value>, BoxError> {
        let listed = json(folder, &["bus", "groups"])?;
        let groups = listed["groups"].as_array().cloned().unwrap_or_default();
        let left = groups.iter().find(|it| it["group"] == "customer-service");
        Ok(left.map(|it| it["pending"].clone()))
    };
    assert_eq!(pending()?, Some(json!(1)));
    let said = String::from_utf8(shop(folder, &["bus", "groups"]).stdout)?;
    assert_eq!(
        said.matches("no service has this name").count(),
        1,
        "{said}"
    );

    let said = complaint(folder, &["bus", "forget", "order-service"]);
    assert!(said.contains("is a service of the system"), "{said}");
    let said = complaint(folder, &["bus", "forget", "customers"]);
    assert!(said.contains("it has customer-service"), "{said}");
    let forget = ["bus", "forget", "customer-service"];
    assert_eq!(
        json(folder, &forget)?,
        json!({ "forgotten": "customer-service" })
    );
    assert_eq!(pending()?, None);
    running.stop().await;
    Ok(())
}

/// An order of something that the shop does not have.
fn order(id: &str) -> PlaceOrder {
    let price = Money::new(100, Currency::Eur);
    PlaceOrder {
        order_id: id.to_owned(),
        customer: Customer {
            user_id: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
        },
        customer_version: 1,
        lines: vec![Line {
            product_id: "unicorn".to_owned(),
            quantity: 1,
            price,
        }],
        total: price,
        payment_method: "tok_ok".to_owned(),
        placed_at: contracts::now(),
        request: None,
    }
}

/// Replaces the first line of a saga's journal; what was there before.
async fn rewrite(db: &Database, id: &str, line: &str) -> Result<String, BoxError> {
    let mut tx = db.begin().await?;
    let which = "FROM outrigger_saga_journal WHERE saga_id = $1 AND position = 0";
    let before = tx
        .query_one(&format!("SELECT entry {which}"), params![id])
        .await?;
    let before: String = before.ok_or("no journal")?.get(0)?;
    let update = "UPDATE outrigger_saga_journal SET entry = $2 WHERE saga_id = $1 AND position = 0";
    tx.execute(update, params![id, line]).await?;
    tx.commit().await?;
    Ok(before)
}

/// Orders that are begun, while nobody goes on with them. In which database.
async fn begin(folder: &Path, ids: &[&str]) -> Result<Database, BoxError> {
    let settings = Settings {
        data: folder.to_owned(),
        ..Settings::default()
    };
    let url = settings.database_of(contracts::order::SERVICE);
    let db = Database::open(url.reveal()).await?;
    let db = db.owned_by(contracts::order::SERVICE);
    let sagas = Sagas::open(db.clone()).await?;
    sagas.register(place_order);
    let mut tx = db.begin().await?;
    for id in ids {
        sagas.start(&mut tx, id, order(id)).await?;
    }
    tx.commit().await?;
    Ok(db)
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_listed_shown_retried_skipped_and_cancelled() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    open(folder).await?.stop().await;
    let db = begin(folder, &["1", "2", "3"]).await?;
    let listed = |state: &str| -> Result<Vec<Value>, BoxError> {
        let list = json(folder, &["sagas", "list", "--state", state])?;
        let sagas = list["sagas"].as_array().ok_or("a list")?;
        Ok(sagas.iter().map(|saga| saga["id"].clone()).collect())
    };
    assert_eq!(listed("running")?, ["1", "2", "3"]);
    let list = String::from_utf8(shop(folder, &["sagas", "list"]).stdout)?;
    let none =
        "no saga is parked or compensating; `--state running|completed|compensated` lists others\n";
    assert_eq!(list, none);
    let said = complaint(folder, &["sagas", "list", "--limit", "0"]);
    assert!(said.contains("0 is not in 1.."), "{said}");

    // One that a newer version has written.
    let line = rewrite(&db, "1", r#"{"entry":"called-by-pigeon"}"#).await?;
    assert_eq!(json(folder, &["sagas", "retry", "1"])?["state"], "parked");
    let list = String::from_utf8(shop(folder, &["sagas", "list"]).stdout)?;
    assert!(
        list.contains("parked  order-service/place-order  1") && list.contains("called-by-pigeon"),
        "{list}"
    );
    let shown = String::from_utf8(shop(folder, &["sagas", "show", "1"]).stdout)?;
    assert!(shown.contains("cannot be read: {"), "{shown}");
    let input = shown.lines().find(|line| line.starts_with("  input: {"));
    assert!(
        input.is_some_and(|input| input.contains("ada@example.com")),
        "{shown}"
    );
    rewrite(&db, "1", &line).await?;
    assert_eq!(json(folder, &["sagas", "retry", "1"])?["state"], "running");

    let reason = ["--reason", "created by phone"];
    let skip = |step| {
        [
            ["sagas", "skip", "2", "--step"].as_slice(),
            &[step],
            &reason,
        ]
        .concat()
    };
    assert_eq!(json(folder, &skip("0"))?["state"], "running");
    let said = complaint(folder, &skip("0"));
    assert!(said.contains("does not wait for step 0"), "{said}");
    let shown = json(folder, &["sagas", "show", "2"])?;
    assert_eq!(shown["input"]["customer"]["email"], "ada@example.com");
    let entries: Vec<&Value> = (0..3)
        .map(|line| &shown["timeline"][line]["entry"])
        .collect();
    assert_eq!(entries, ["called", "skipped", "called"]);

    let said = complaint(folder, &["sagas", "cancel", "3", "--reason", " "]);
    assert!(said.contains("for whoever looks at saga 3"), "{said}");
    let cancel = ["sagas", "cancel", "3", "--reason", "ordered twice"];
    assert_eq!(json(folder, &cancel)?["state"], "compensating");
    assert_eq!(listed("compensating")?, ["3"]);
    for verb in [
        &["sagas", "cancel", "4", "--reason", "no"][..],
        &["sagas", "show", "4"],
    ] {
        let said = complaint(folder, verb);
        let is_helpful = said.starts_with("error: no service has a saga 4; `sagas list` shows");
        assert!(is_helpful, "{verb:?}: {said}");
    }

    // And they end, once the shop runs again.
    let running = open(folder).await?;
    let ended = async {
        while listed("compensated").is_ok_and(|ended| ended.len() < 3) {
            outrigger::env::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    outrigger::env::timeout(std::time::Duration::from_secs(60), ended).await?;
    running.stop().await;
    let shown = json(folder, &["sagas", "show", "3"])?;
    assert_eq!(shown["failure"]["detail"], "ordered twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_a_token_of_an_operator_opens_the_sagas_of_one_service_and_no_other_token_does() -> Done
{
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    open(folder).await?.stop().await;
    // It stands still until an operator comes, for a newer version has written a line of it.
    let db = begin(folder, &["1"]).await?;
    let line = rewrite(&db, "1", r#"{"entry":"called-by-pigeon"}"#).await?;
    assert_eq!(json(folder, &["sagas", "retry", "1"])?["state"], "parked");
    let order = Process::serve(folder, "order-service")?;
    let user = Process::serve(folder, "user-service")?;

    let bearing = |Process(_, address): &Process, more: &[&str]| {
        let token = ["token", "ada", "--for", "order-service"];
        let made = json(folder, &[&token, more].concat())?;
        let bearer = format!("Bearer {}", made["token"].as_str().ok_or("a token")?);
        Ok::<_, BoxError>(GatewayClient::new(*address).with_header("authorization", &bearer))
    };
    let unnamed = shop(folder, &["token", "ada", "--operate"]);
    assert!(!unnamed.status.success(), "at the hub it would be another");
    let refused = bearing(&order, &[])?.get("/sagas").await?;
    assert_eq!(refused.status, 403, "{refused:?}");
    let refused = bearing(&user, &["--operate"])?.get("/sagas").await?;
    assert_eq!(refused.status, 421, "{refused:?}");

    let ada = bearing(&order, &["--operate"])?;
    let listed = ada.get("/sagas").await?;
    assert_eq!(listed.body["sagas"][0]["id"], "1", "{listed:?}");
    let letters = ada.get("/dead-letters").await?;
    assert_eq!(letters.status, 200, "{letters:?}");
    rewrite(&db, "1", &line).await?;
    let retried = ada.post("/sagas/1/retry", &json!({})).await?;
    assert_eq!(retried.body["state"], "running", "{retried:?}");
    Ok(())
}
