//! A service whose database goes away says so, and serves again when it is back.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use discovery::{Client, Clients, Error as CallError};
use identity::Issuer;
use outrigger::{Platform, Settings, prelude::*};
use servers::Postgres;

type Done = Result<(), BoxError>;

const SERVICE: &str = "counter-service";

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "counts",
    "CREATE TABLE counts (id TEXT PRIMARY KEY)",
)];

async fn count(State(ctx): State<Context>) -> Result<Json<i64>, Rejection> {
    let id = env::id().to_string();
    ctx.db()
        .transaction(async |mut tx| {
            tx.execute("INSERT INTO counts (id) VALUES ($1)", params![&id])
                .await?;
            let rows = tx.query("SELECT count(*) AS n FROM counts", &[]).await?;
            let first = rows.first().map(|row| row.get("n")).transpose()?;
            Ok::<_, Rejection>(Json(first.unwrap_or_default()))
        })
        .await
}

fn system() -> System {
    System::new("counting").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("counting").owns(["counts"]).apis(["/counts"]))
            .migrations(MIGRATIONS)
            .routes(Router::new().route("/counts", post(count))),
    )
}

fn client(platform: &Platform) -> Client {
    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(platform.keyring().clone(), "test", grants);
    Clients::new(platform.registry().clone(), Some(issuer)).client(SERVICE)
}

#[tokio::test]
async fn g9_a_request_that_needs_a_database_that_is_away_is_told_when_to_come_again() -> Done {
    let mut server = Postgres::start().await?;
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        data: folder.path().to_owned(),
        database: Some(env::config::Secret::new(server.database("counter").await?)),
        ..Settings::default()
    };
    let platform = Platform::embedded(settings).await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = system().start_service(SERVICE, &platform, anywhere).await?;
    let client = client(&platform);
    let count = async || client.post::<_, i64>("/counts", &[], &()).await;
    assert_eq!(count().await?, 1);

    server.kill().await?;
    let deadline = env::instant() + Duration::from_secs(30);
    let mut counted = 1;
    // The server's process is gone at once; the one that works for a connection may live on for a moment.
    let refused = loop {
        match count().await {
            Ok(more) => counted = more,
            Err(refused) => break refused,
        }
        assert!(env::instant() < deadline, "it is still served");
    };
    match refused {
        CallError::Problem { problem, .. } => {
            assert_eq!((problem.status, problem.retry_after), (503, Some(1)));
            assert_eq!(problem.kind(), "service-unavailable");
        }
        other => panic!("{other:?}"),
    }

    server.restart().await?;
    let deadline = env::instant() + Duration::from_secs(30);
    while let Err(error) = count().await {
        assert!(env::instant() < deadline, "{error}");
        env::sleep(Duration::from_millis(50)).await;
    }
    let counted_again = count().await?;
    assert_eq!(counted_again, counted + 2, "who was refused had no effect");
    running.stop().await;
    platform.stop().await;
    Ok(())
}
