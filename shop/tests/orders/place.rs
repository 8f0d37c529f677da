//! Where the shop of a test keeps what it knows.

use std::sync::atomic::{AtomicU32, Ordering};

use ::servers::{Nats, Postgres, nats};
use outrigger::data;
use testkit::TestEnvironment;
use tokio::sync::OnceCell;

#[derive(Clone, Copy)]
pub(crate) enum On {
    /// Files, and the embedded bus.
    Sqlite,
    /// A server, and the embedded bus.
    Postgres,
    /// A server of PostgreSQL, and one of NATS.
    Servers,
}

static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
static NATS: OnceCell<Nats> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The whole shop, empty.
pub(crate) async fn open(on: On) -> TestEnvironment {
    let mut shop = TestEnvironment::of(shop::system());
    if let On::Postgres | On::Servers = on {
        shop = shop.database(&databases().await);
    }
    if let On::Servers = on {
        shop = shop.bus(&bus().await);
    }
    shop.start().await.expect("the shop starts")
}

/// A URL with a new database for each service on the server of this test program, and a role that alone can enter it.
async fn databases() -> String {
    let server = POSTGRES.get_or_init(async || Postgres::start().await.expect("a server"));
    let (server, number) = (server.await, NEXT.fetch_add(1, Ordering::Relaxed));
    for service in shop::system().services() {
        let name = format!("{number}-{}", service.name());
        let made = data::provision(&server.url(), &name, "secret").await;
        made.expect("a database and a role");
    }
    let (name, port) = (format!("{number}-{{service}}"), server.port());
    format!("postgres://{name}:secret@127.0.0.1:{port}/{name}?pool_size=4")
}

/// A URL with a new stream on the server of this test program.
async fn bus() -> String {
    let start = async || Nats::start(nats::Options::default()).await;
    let server = NATS.get_or_init(async || start().await.expect("a server"));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}&stream=shop-{number}&partitions=4", server.await.url())
}
