//! A system as small as one can be that still has everything: one service counts, another keeps the tally.

#![allow(dead_code, reason = "each file of tests uses a part")]

use std::{collections::BTreeMap, time::Duration};

use outrigger::{GatewayClient, prelude::*};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("count.made", version = 1, key = id, crate = outrigger::events)]
struct CountMade {
    id: String,
}

#[derive(Deserialize)]
struct Count {
    id: String,
}

/// When the counter says that it has counted.
#[derive(Clone, Copy)]
pub(crate) enum Publishing {
    /// In the transaction that counts, as it must be.
    InTheTransaction,
    /// In another one, a little later: what is in between can be lost.
    Afterwards,
}

pub(crate) fn system(publishing: Publishing) -> System {
    System::new("small")
        .service(counter(publishing))
        .service(tally())
        .gateway(
            r#"
            [[route]]
            path = "/counts"
            methods = ["POST"]
            service = "counter-service"
            [[route]]
            path = "/tally"
            methods = ["GET"]
            service = "tally-service"
            "#,
        )
        .invariant("nothing is tallied twice", Duration::ZERO, nothing_twice)
        .invariant(
            "everything that was counted is tallied",
            Duration::from_mins(1),
            nothing_lost,
        )
        .workload(workload)
        .scenario(scenario)
        .state(state)
}

fn counter(publishing: Publishing) -> Service {
    let count = async move |State(ctx): State<Context>, Json(count): Json<Count>| {
        let mut tx = ctx.db().begin().await?;
        let sql = "INSERT INTO counts VALUES ($1) ON CONFLICT DO NOTHING";
        if tx.execute(sql, params![count.id.clone()]).await? == 0 {
            tx.rollback().await?;
            return Ok::<_, Rejection>(StatusCode::OK); // it was counted before
        }
        if matches!(publishing, Publishing::Afterwards) {
            tx.commit().await?;
            env::sleep(std::time::Duration::from_millis(200)).await;
            tx = ctx.db().begin().await?;
        }
        tx.publish(CountMade { id: count.id })?;
        tx.commit().await?;
        Ok(StatusCode::CREATED)
    };
    Service::new("counter-service")
        .publishes::<CountMade>()
        .boundary(Boundary::of("counting").owns(["counts"]).apis(["/counts"]))
        .migrations(
            const {
                &[Migration::new(
                    1,
                    "counts",
                    "CREATE TABLE counts (id TEXT PRIMARY KEY)",
                )]
            },
        )
        .routes(Router::new().route("/counts", post(count)))
}

fn tally() -> Service {
    Service::new("tally-service")
        .boundary(Boundary::of("tallies").owns(["tallied"]).apis(["/tally"]))
        .migrations(
            const {
                &[Migration::new(
                    1,
                    "tallied",
                    "CREATE TABLE tallied (id TEXT NOT NULL)",
                )]
            },
        )
        .routes(Router::new().route("/tally", get(tallied)))
        .on::<CountMade, _>(count_made)
}

async fn count_made(_: Context, tx: &mut Transaction, event: CountMade) -> Result<(), BoxError> {
    tx.execute("INSERT INTO tallied VALUES ($1)", params![event.id])
        .await?;
    Ok(())
}

async fn tallied(State(ctx): State<Context>) -> Result<Json<serde_json::Value>, Rejection> {
    let row = ctx
        .db()
        .query_one("SELECT count(*) FROM tallied", params![])
        .await?;
    let tally = row.map(|row| row.get::<i64>(0)).transpose()?;
    Ok(Json(json!({ "tally": tally })))
}

async fn nothing_twice(view: Inspection) -> Result<(), String> {
    let sql = "SELECT count(*) - count(DISTINCT id) FROM tallied";
    match view.number("tally-service", sql, &[]).await? {
        0 => Ok(()),
        more => Err(format!("{more} too many")),
    }
}

async fn nothing_lost(view: Inspection) -> Result<(), String> {
    let counted = view
        .number("counter-service", "SELECT count(*) FROM counts", &[])
        .await?;
    let tallied = view
        .number("tally-service", "SELECT count(*) FROM tallied", &[])
        .await?;
    if counted == tallied {
        Ok(())
    } else {
        Err(format!("{counted} counted, {tallied} tallied"))
    }
}

/// Three users count, each until it has been heard.
async fn workload(client: GatewayClient) {
    let users = (0..3).map(|user| {
        let client = client.clone();
        async move {
            for number in 0..15 {
                let pause = env::random().random_range(0..500);
                env::sleep(std::time::Duration::from_millis(pause)).await;
                let body = json!({ "id": format!("{user}-{number}") });
                for _ in 0..20 {
                    match client.post("/counts", &body).await {
                        Ok(answer) if answer.status.is_success() => break,
                        _ => env::sleep(std::time::Duration::from_millis(100)).await,
                    }
                }
            }
        }
    });
    futures::future::join_all(users).await;
}

/// One user counts three times, and insists.
async fn scenario(client: GatewayClient) {
    for number in 0..3 {
        let body = json!({ "id": format!("{number}") });
        while !client
            .post("/counts", &body)
            .await
            .is_ok_and(|answer| answer.status.is_success())
        {
            env::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn state(view: Inspection) -> Result<BTreeMap<String, serde_json::Value>, String> {
    let sql = "SELECT count(*) FROM counts";
    let counted = view.number("counter-service", sql, &[]).await?;
    let sql = "SELECT count(*) FROM tallied";
    let tallied = view.number("tally-service", sql, &[]).await?;
    let named = [("counted", counted), ("tallied", tallied)];
    Ok(named
        .map(|(name, number)| (name.to_owned(), json!(number)))
        .into())
}
