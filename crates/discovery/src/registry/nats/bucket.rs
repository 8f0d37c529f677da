//! The bucket: instances by id, and what is written there.

use std::sync::atomic::Ordering;

use async_nats::{
    Client, ConnectOptions, ServerAddr,
    connection::State,
    jetstream::{
        self,
        kv::{self, CreateErrorKind, DeleteError, Entry, Operation, Store, UpdateErrorKind},
    },
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Options, away};
use crate::{Error, Instance, Result};

/// How often a write is tried again that another one came before.
const ATTEMPTS: u32 = 8;
/// The most bytes of a value.
const LARGEST: i32 = 64 * 1024;
/// What stands in a key as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

pub(super) struct Bucket {
    client: Client,
    jetstream: jetstream::Context,
    options: Options,
}

impl Bucket {
    pub(super) async fn connect(url: &str, options: Options) -> Result<Self> {
        let servers: Vec<ServerAddr> = url
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|error: std::io::Error| Error::RegistryUrl {
                reason: format!("{error}; write NATS as `nats://host:4222`"),
            })?;
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(servers)
            .await
            .map_err(away)?;
        Ok(Self {
            jetstream: jetstream::new(client.clone()),
            client,
            options,
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// How often a connection was made.
    pub(super) fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    pub(super) async fn store(&self) -> Result<Store> {
        let name = &self.options.bucket;
        match self.jetstream.get_key_value(name.as_str()).await {
            Ok(store) => Ok(store),
            Err(_) => self
                .jetstream
                .create_key_value(kv::Config {
                    bucket: name.clone(),
                    description: "instances of services".to_owned(),
                    history: 1,
                    max_age: self.options.ttl.limit,
                    max_value_size: LARGEST,
                    num_replicas: self.options.replicas,
                    ..kv::Config::default()
                })
                .await
                .map_err(away),
        }
    }

    /// Writes the instance, unless its id is another service's. Returns the revision.
    pub(super) async fn put(&self, instance: &Instance) -> Result<u64> {
        let store = self.store().await?;
        let key = key(&instance.id);
        let json = serde_json::to_vec(instance).map_err(away)?;
        for _ in 0..ATTEMPTS {
            let written = match self.live(&store, &key).await? {
                Some(entry) => {
                    let known: Option<Instance> = serde_json::from_slice(&entry.value).ok();
                    if let Some(known) = known.filter(|it| it.service != instance.service) {
                        return Err(Error::DuplicateId {
                            id: instance.id.clone(),
                            service: known.service,
                        });
                    }
                    renewed(
                        store
                            .update(&key, json.clone().into(), entry.revision)
                            .await,
                    )?
                }
                None => match store.create(&key, json.clone().into()).await {
                    Ok(revision) => Some(revision),
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists => None,
                    Err(error) => return Err(away(error)),
                },
            };
            if let Some(revision) = written {
                return Ok(revision);
            }
        }
        Err(contended(&instance.id))
    }

    /// Writes what is there once more. False where it is not there (any more).
    pub(super) async fn renew(&self, id: &str) -> Result<bool> {
        let store = self.store().await?;
        let key = key(id);
        for _ in 0..ATTEMPTS {
            let Some(entry) = self.live(&store, &key).await? else {
                return Ok(false);
            };
            let renewed = renewed(store.update(&key, entry.value, entry.revision).await)?;
            if renewed.is_some() {
                return Ok(true);
            }
        }
        Err(contended(id))
    }

    /// Removes it. One that is not there is well.
    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        let store = self.store().await?;
        let key = key(id);
        if self.live(&store, &key).await?.is_some() {
            let removed: Result<(), DeleteError> = store.delete(&key).await;
            removed.map_err(away)?;
        }
        Ok(())
    }

    async fn live(&self, store: &Store, key: &str) -> Result<Option<Entry>> {
        let entry = store.entry(key).await.map_err(away)?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put))
    }
}

/// The revision of what was written; `None` where another write came before.
fn renewed(outcome: Result<u64, kv::UpdateError>) -> Result<Option<u64>> {
    match outcome {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(error) => Err(away(error)),
    }
}

fn contended(id: &str) -> Error {
    away(format!("others write instance {id} all the time"))
}

/// The key of an id: what a key cannot have is written as its bytes.
fn key(id: &str) -> String {
    utf8_percent_encode(id, PLAIN).to_string().replace('%', "=")
}

/// The id that a key stands for.
pub(super) fn id(key: &str) -> String {
    let encoded = key.replace('=', "%");
    percent_decode_str(&encoded)
        .decode_utf8_lossy()
        .into_owned()
}
