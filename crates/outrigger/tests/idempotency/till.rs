//! A service that sells: each sale is a row, and what the handler does on the way is the test's to say.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use env::config::Secret;
use identity::Issuer;
use outrigger::{
    GatewayClient, Platform, RunningService, Settings,
    client::{Answer, NoAnswer},
    env, futures,
    http::{HeaderName, Method, header},
    identity,
    prelude::*,
};
use serde_json::{Value, json};
use servers::Postgres;
use tokio::sync::{OnceCell, Semaphore};

pub(crate) const SERVICE: &str = "till-service";

const SALES: &[Migration] = &[Migration::new(
    1,
    "sales",
    "CREATE TABLE sales (id TEXT PRIMARY KEY)",
)];

/// What a handler does besides selling.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// How often it has begun.
    pub(crate) runs: AtomicU32,
    /// How often it answers with this status before it sells.
    pub(crate) failures: Vec<u16>,
    /// What must be opened before it decides.
    pub(crate) before: Option<Semaphore>,
    /// What must be opened before it answers.
    pub(crate) after: Option<Semaphore>,
    /// What must be opened before the body of the answer ends.
    pub(crate) ending: Option<Semaphore>,
    /// How many bytes the answer has besides.
    pub(crate) padding: usize,
}

impl Stage {
    pub(crate) fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    /// Waits until the handler has begun this often.
    pub(crate) async fn begun(&self, runs: u32) {
        eventually(async || self.runs() >= runs).await;
    }
}

/// Opens a gate for everybody.
pub(crate) fn open(gate: Option<&Semaphore>) {
    gate.expect("the stage has this gate").add_permits(1000);
}

async fn pass(gate: Option<&Semaphore>) {
    if let Some(gate) = gate {
        gate.acquire().await.expect("never closed").forget();
    }
}

/// Looks until it is so.
pub(crate) async fn eventually(look: impl AsyncFn() -> bool) {
    let looking = async {
        while !look().await {
            env::sleep(Duration::from_millis(5)).await;
        }
    };
    env::timeout(Duration::from_secs(20), looking)
        .await
        .expect("it happens within 20 s");
}

async fn sell(ctx: Context, once: Idempotency, stage: Arc<Stage>) -> Result<Response, Rejection> {
    let run = stage.runs.fetch_add(1, Ordering::SeqCst) as usize;
    match stage.failures.get(run) {
        Some(0) => panic!("as the test asked"),
        Some(status) => {
            let status = StatusCode::from_u16(*status).expect("a status");
            return Err(Problem::new(status, "as-the-test-asked", "").into());
        }
        None => {}
    }
    let sale = match once.decided::<String>(ctx.db()).await? {
        Some(sale) => sale,
        None => {
            pass(stage.before.as_ref()).await;
            let sale = env::id().to_string();
            ctx.db()
                .transaction(async |mut tx| {
                    once.decide(&mut tx, &sale).await?;
                    let insert = "INSERT INTO sales (id) VALUES ($1)";
                    tx.execute(insert, params![&sale]).await?;
                    Ok::<_, Rejection>(())
                })
                .await?;
            sale
        }
    };
    pass(stage.after.as_ref()).await;
    let location = [(header::LOCATION, format!("/sales/{sale}"))];
    let body = json!({ "sale": sale, "padding": "x".repeat(stage.padding) });
    let body = futures::stream::once(async move {
        pass(stage.ending.as_ref()).await;
        Ok::<_, Infallible>(body.to_string())
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    let body = axum::body::Body::from_stream(body);
    Ok((StatusCode::CREATED, location, json, body).into_response())
}

fn service(stage: &Arc<Stage>) -> Service {
    let stage = Arc::clone(stage);
    let handler = move |State(ctx): State<Context>, once: Idempotency| sell(ctx, once, stage);
    Service::new(SERVICE)
        .boundary(Boundary::of("sales").owns(["sales"]).apis(["/sales"]))
        .migrations(SALES)
        .routes(Router::new().route("/sales", post(handler.clone()).get(handler)))
}

/// Where the sales are kept.
pub(crate) struct Till {
    folder: tempfile::TempDir,
    database: String,
}

static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Till {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("sqlite:{}", folder.path().join("till.sqlite").display());
        Self { folder, database }
    }

    pub(crate) async fn on_postgres() -> Self {
        let server = SERVER.get_or_init(async || Postgres::start().await.expect("a server"));
        let name = format!("till_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let database = server.await.database(&name).await.expect("a database");
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, database }
    }

    /// Starts an instance of the service.
    pub(crate) async fn instance(&self, stage: Stage) -> Instance {
        Instance::start(self.folder.path(), &self.database, stage).await
    }

    /// Starts an instance in a runtime of its own, with which it dies.
    pub(crate) async fn mortal(&self, stage: Stage) -> (tokio::runtime::Runtime, Instance) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (folder, database) = (self.folder.path().to_owned(), self.database.clone());
        let starting = async move { Instance::start(&folder, &database, stage).await };
        let instance = runtime.spawn(starting).await.expect("it starts");
        (runtime, instance)
    }
}

/// One process of the service, as it were.
pub(crate) struct Instance {
    pub(crate) stage: Arc<Stage>,
    pub(crate) running: RunningService,
    client: GatewayClient,
}

impl Instance {
    async fn start(folder: &Path, database: &str, stage: Stage) -> Self {
        let mut settings = Settings {
            data: folder.join(env::id().to_string()),
            database: Some(Secret::new(database)),
            ..Settings::default()
        };
        settings.security.keys = Some(folder.join("keys.json"));
        let platform = Platform::embedded(settings).await.expect("a platform");
        let stage = Arc::new(stage);
        let system = System::new("market").service(service(&stage));
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let running = system.start_service(SERVICE, &platform, anywhere).await;
        let running = running.expect("it starts");
        let grants = [(SERVICE.to_owned(), vec![identity::CALL.to_owned()])];
        let issuer = Issuer::new(platform.keyring().clone(), "market", grants.into());
        let token = issuer.token(SERVICE).expect("a token");
        Self {
            client: GatewayClient::new(running.address())
                .with_header("authorization", &format!("Bearer {token}")),
            stage,
            running,
        }
    }

    /// Sells something, with this key.
    pub(crate) async fn sell(&self, key: &str) -> Answer {
        self.try_to_sell(key).await.expect("an answer")
    }

    pub(crate) async fn try_to_sell(&self, key: &str) -> Result<Answer, NoAnswer> {
        self.with_key(key)
            .post("/sales", &json!({ "what": "tea" }))
            .await
    }

    pub(crate) fn with_key(&self, key: &str) -> GatewayClient {
        self.client.clone().with_header("idempotency-key", key)
    }

    pub(crate) fn client(&self) -> &GatewayClient {
        &self.client
    }

    pub(crate) async fn get(&self, key: &str) -> Answer {
        let answer = self
            .with_key(key)
            .request(Method::GET, "/sales", None)
            .await;
        answer.expect("an answer")
    }

    /// How many sales there are.
    pub(crate) async fn sales(&self) -> i64 {
        let db = self.running.context().db();
        let row = db.query_one("SELECT count(*) FROM sales", params![]).await;
        let row = row.expect("a database").expect("a row");
        row.get(0).expect("a number")
    }

    /// Whether somebody holds a request now.
    pub(crate) async fn holds_one(&self) -> bool {
        let held = "SELECT count(*) FROM outrigger_idempotency WHERE held_until > 0";
        let row = self.running.context().db().query_one(held, params![]).await;
        let row = row.expect("a database").expect("a row");
        row.get::<i64>(0).expect("a number") > 0
    }

    /// Ends every lease, as if ten seconds had gone by in which nobody renewed one.
    pub(crate) async fn end_leases(&self) {
        let mut tx = self.running.context().db().begin().await.expect("a turn");
        let update = "UPDATE outrigger_idempotency SET held_until = 0";
        tx.execute(update, params![]).await.expect("a table");
        tx.commit().await.expect("a database");
    }
}

/// Whether an answer was given before.
pub(crate) fn is_replayed(answer: &Answer) -> bool {
    let replayed = HeaderName::from_static("idempotency-replayed");
    answer
        .headers
        .get(replayed)
        .is_some_and(|value| value == "true")
}

/// The kind of a problem.
pub(crate) fn problem(answer: &Answer) -> (u16, String) {
    let kind = match &answer.body["type"] {
        Value::String(kind) => kind.rsplit('/').next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    (answer.status.as_u16(), kind)
}
