//! The servers under the shop: PostgreSQL and NATS, set as they are to be in production.

use outrigger::{
    Settings, data,
    env::{BoxError, config::Secret},
};
use servers::{Nats, Postgres, nats, postgres};

/// That of every service's role; the server is private.
const PASSWORD: &str = "secret";

/// Starts them, which have what they acknowledge on their disks, and has `settings` name them.
pub(crate) async fn start(settings: &mut Settings) -> Result<(Postgres, Nats), BoxError> {
    let postgres = Postgres::start_with(postgres::Options::new().fsync()).await?;
    let nats = nats::Options {
        sync_always: true,
        ..nats::Options::default()
    };
    let nats = Nats::start(nats).await?;
    for service in shop::system().services() {
        data::provision(&postgres.url(), service.name(), PASSWORD).await?;
    }
    let port = postgres.port();
    let each = format!("postgres://{{service}}:{PASSWORD}@127.0.0.1:{port}/{{service}}");
    settings.database = Some(Secret::new(each));
    settings.messaging.bus = Some(Secret::new(nats.url()));
    Ok((postgres, nats))
}
