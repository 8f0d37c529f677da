//! Sagas that cannot go on by themselves, and who looks after them: over HTTP, and in the database.

use std::{collections::BTreeMap, net::SocketAddr};

use discovery::{Client, Clients};
use identity::Issuer;
use outrigger::{GatewayClient, Operator, Platform, Settings, operator::Access, prelude::*, saga};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Done = Result<(), BoxError>;

const SERVICE: &str = "lamp-service";

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("lamp-service", "switch-on")]
struct SwitchOn {
    lamp: String,
}

#[derive(Serialize, Deserialize)]
struct Evening {
    lamp: String,
}

impl Input for Evening {
    const SAGA: &'static str = "evening";
}

async fn evening(saga: Saga, Evening { lamp }: Evening) -> Result<(), Failure> {
    saga.point_of_no_return();
    let retry = Retry::times(2).pauses(std::time::Duration::ZERO, std::time::Duration::ZERO);
    saga.call(SwitchOn { lamp }).retry(retry).await
}

#[derive(Serialize, Deserialize)]
struct Night;

impl Input for Night {
    const SAGA: &'static str = "night";
}

async fn night(saga: Saga, _: Night) -> Result<(), Failure> {
    saga.sleep(std::time::Duration::from_hours(8)).await;
    Ok(())
}

/// To somebody who is never there.
#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("bell-service", "ring")]
struct Ring;

#[derive(Serialize, Deserialize)]
struct Visit;

impl Input for Visit {
    const SAGA: &'static str = "visit";
}

async fn visit(saga: Saga, _: Visit) -> Result<(), Failure> {
    saga.call(Ring).undo(Ring).await
}

async fn switch_on(_: Context, _: &mut Transaction, _: SwitchOn) -> Result<(), command::Error> {
    Err(Failure::new("no-power", "There is no power.").into())
}

fn system() -> System {
    System::new("house").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("lamps"))
            .saga(evening)
            .saga(night)
            .saga(visit)
            .command::<SwitchOn, _>(switch_on),
    )
}

/// Calls the service with these permissions.
fn client(platform: &Platform, permissions: &[&str]) -> Client {
    let permissions = permissions.iter().map(|&name| name.to_owned()).collect();
    let grants = BTreeMap::from([(SERVICE.to_owned(), permissions)]);
    let issuer = Issuer::new(platform.keyring().clone(), "operator", grants);
    Clients::new(platform.registry().clone(), Some(issuer)).client(SERVICE)
}

/// Which problem the service answered with.
fn kind<T: std::fmt::Debug>(answer: discovery::Result<T>) -> String {
    match answer {
        Err(discovery::Error::Problem { problem, .. }) => problem.kind().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_saga_is_found_shown_and_helped() -> Done {
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        data: folder.path().to_owned(),
        ..Settings::default()
    };
    let platform = Platform::embedded(settings).await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let system = system();
    let running = system.start_service(SERVICE, &platform, anywhere).await?;
    let ctx = running.context();
    let mut tx = ctx.db().begin().await?;
    for id in ["1", "2/7"] {
        let lamp = id.to_owned();
        ctx.sagas().start(&mut tx, id, Evening { lamp }).await?;
    }
    ctx.sagas().start(&mut tx, "night", Night).await?;
    ctx.sagas().start(&mut tx, "visit", Visit).await?;
    tx.commit().await?;
    for id in ["1", "2/7"] {
        let limit = std::time::Duration::from_secs(20);
        let outcome = ctx.sagas().wait(id, limit).await?;
        assert!(
            matches!(outcome, Some(Outcome::Parked { .. })),
            "{outcome:?}"
        );
    }

    let service = client(&platform, &[identity::CALL]);
    let refused = service.get::<Value>("/sagas", &[]).await;
    let refused = refused.expect_err("only operators may look").to_string();
    assert!(refused.contains("403"), "{refused}");

    let operator = client(&platform, &[identity::OPERATE]);
    let reason = json!({ "reason": "nobody is at home" });
    let _: Value = operator
        .post("/sagas/{id}/cancel", &[&"visit"], &reason)
        .await?;
    let list: Value = operator.get("/sagas", &[]).await?.expect("a list");
    let sagas = list["sagas"].as_array().expect("a list").iter();
    let states: Vec<&Value> = sagas.map(|saga| &saga["state"]).collect();
    assert_eq!(states, ["parked", "parked", "compensating"]);
    let figures = GatewayClient::new(running.address())
        .get("/metrics")
        .await?;
    let figures = figures.body.as_str().expect("figures");
    let is_figure = |name: &str, label: &str, value: &str| {
        let is_it = |line: &str| line.starts_with(name) && line.contains(label);
        let line = figures.lines().find(|line| is_it(line));
        assert!(line.is_some_and(|line| line.ends_with(value)), "{line:?}");
    };
    is_figure("outrigger_sagas", "\"parked\"", " 2");
    // Each was refused twice, in the transactions of its saga.
    let messages = "messaging_client_consumed_messages_total";
    is_figure(messages, "\"saga.lamp-service.switch-on\"", " 4");
    let shown: Value = operator
        .get("/sagas/{id}", &[&"2/7"])
        .await?
        .expect("the saga");
    assert_eq!(shown["state"], "parked");
    assert_eq!(shown["input"], json!({ "lamp": "2/7" }));
    assert_eq!(list["sagas"][0].get("input"), None);
    assert_eq!(shown["timeline"][1]["entry"], "called");
    for (id, what, step, reason, expected) in [
        ("2/7", "skip", 1, " \n", "invalid-request"),
        ("2/7", "cancel", 1, "", "invalid-request"),
        ("2/7", "skip", 7, "by hand", "saga-not-waiting"),
        ("2/7", "cancel", 1, "no", "saga-past-return"),
        ("3", "cancel", 1, "no", "saga-not-found"),
    ] {
        let body = json!({ "step": step, "reason": reason });
        let path = format!("/sagas/{{id}}/{what}");
        let refused = operator.post::<_, Value>(&path, &[&id], &body).await;
        assert_eq!(kind(refused), expected, "{what} {id} at {step}: {reason:?}");
    }
    let none = operator.get::<Value>("/sagas?limit=0", &[]).await;
    assert_eq!(kind(none), "invalid-request");
    let skip = json!({ "step": 1, "reason": "switched on by hand" });
    let skipped: Value = operator.post("/sagas/{id}/skip", &[&"2/7"], &skip).await?;
    assert_eq!(skipped["state"], "completed");
    let retried = operator
        .post::<_, Value>("/sagas/{id}/retry", &[&"2/7"], &Value::Null)
        .await;
    assert_eq!(kind(retried), "saga-ended");

    let reason = json!({ "reason": "there is a party" });
    let cancelled: Value = operator
        .post("/sagas/{id}/cancel", &[&"night"], &reason)
        .await?;
    assert_eq!(
        (&cancelled["state"], &cancelled["failure"]["detail"]),
        (&json!("compensated"), &json!("there is a party"))
    );
    let _: Value = operator
        .post("/sagas/{id}/retry", &[&"1"], &Value::Null)
        .await?;
    let shown: Value = operator
        .get("/sagas/{id}", &[&"1"])
        .await?
        .expect("the saga");
    let timeline = shown["timeline"].as_array().expect("a timeline");
    let begun = |entry: &str| {
        timeline
            .iter()
            .filter(|line| line["entry"] == entry)
            .count()
    };
    assert_eq!(begun("resumed"), 1, "{timeline:?}");
    assert!(
        begun("retried") >= 2,
        "the step is made again: {timeline:?}"
    );

    // The same in the database, beside the service, which rests.
    let again = ctx.sagas().wait("1", std::time::Duration::from_secs(20));
    assert!(matches!(again.await?, Some(Outcome::Parked { .. })));
    let operator = Operator::open(&system, platform.settings(), Access::Change).await?;
    let (service, sagas) = operator.find("1").await?;
    assert_eq!(service, SERVICE);
    sagas.resume("1").await?;
    sagas
        .skip("1", 1, "switched on by hand", Value::Null)
        .await?;
    let outcome = ctx
        .sagas()
        .wait("1", std::time::Duration::from_secs(20))
        .await?;
    assert_eq!(outcome, Some(Outcome::Completed));
    let unknown = operator.find("3").await.err();
    assert!(
        matches!(unknown, Some(saga::Error::NotFound { .. })),
        "{unknown:?}"
    );
    running.stop().await;
    platform.stop().await;
    Ok(())
}
