//! A key-value bucket of NATS, whose keys are `service.number`.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    kv::{Config, Store},
};
use discovery::Instance;
use futures::StreamExt;
use servers::{Nats, nats};

use super::{
    load::Seen,
    side::{Place, Side, change_of, name},
};
use crate::Result;

const BUCKET: &str = "instances";
/// As the registry's.
const TTL: Duration = Duration::from_secs(90);

/// The server, until dropped, and a client of it.
pub struct Bucket {
    server: Nats,
    store: Store,
}

impl Bucket {
    pub async fn start() -> Result<Self> {
        let server = Nats::start(nats::Options::default()).await?;
        let client = async_nats::connect(server.address().to_string()).await?;
        let config = Config {
            bucket: BUCKET.to_owned(),
            history: 1,
            max_age: TTL,
            ..Config::default()
        };
        let store = jetstream::new(client).create_key_value(config).await?;
        Ok(Self { server, store })
    }
}

fn key(Place { service, number }: Place) -> String {
    format!("{}.{number}", name(service))
}

impl Side for Bucket {
    async fn put(&self, place: Place, change: u64) -> Result<()> {
        let json = serde_json::to_vec(&place.instance(change))?;
        self.store.put(key(place), json.into()).await?;
        Ok(())
    }

    async fn heartbeat(&self, place: Place) -> Result<()> {
        self.put(place, 0).await
    }

    async fn watch(&self, service: usize, mut seen: Seen) -> Result<()> {
        let client = async_nats::connect(self.server.address().to_string()).await?;
        let store = jetstream::new(client).get_key_value(BUCKET).await?;
        let mut changes = store
            .watch_with_history(format!("{}.*", name(service)))
            .await?;
        let first = key(Place { service, number: 0 });
        while let Some(entry) = changes.next().await {
            let entry = entry?;
            let instance: Instance = serde_json::from_slice(&entry.value)?;
            if entry.key == first {
                seen.state(change_of(&instance));
            }
        }
        Ok(())
    }

    fn process(&self) -> Result<u32> {
        Ok(self.server.id().ok_or("NATS has ended")?)
    }
}
