//! The verbs for those who look after the shop, on its data while it runs and after it stopped.

use std::{
    path::Path,
    process::{Command, Output},
};

use outrigger::{Platform, Settings, env::BoxError, events::CloudEvent, lifecycle::Running};
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
    let gateway = outrigger::GatewayClient::new(running.gateway().ok_or("no gateway")?);
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
    let all = ["outbox", "replay", "--all", "--since", "1h"];
    assert_eq!(json(folder, &all)?, json!({ "replayed": 1 }));
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
