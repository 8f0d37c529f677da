//! The servers under the shop: PostgreSQL and NATS, set as they are to be in production.

use outrigger::{
    Settings,
    env::{BoxError, config::Secret},
};
use servers::{Nats, Postgres, nats, postgres};

/// Starts them, which have what they acknowledge on their disks, and has `settings` name them.
pub(crate) async fn start(settings: &mut Settings) -> Result<(Postgres, Nats), BoxError> {
    let postgres = Postgres::start_with(postgres::Options::new().fsync()).await?;
    let nats = nats::Options {
        sync_always: true,
        ..nats::Options::default()
    };
    let nats = Nats::start(nats).await?;
    for service in shop::system().services() {
        postgres.database(service.name()).await?;
    }
    let each = format!(
        "postgres://postgres@127.0.0.1:{}/{{service}}",
        postgres.port()
    );
    settings.database = Some(Secret::new(each));
    settings.messaging.bus = Some(Secret::new(nats.url()));
    Ok((postgres, nats))
}
