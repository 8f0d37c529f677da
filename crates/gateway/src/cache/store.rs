//! The stored answers: bounded by bytes, the least wanted going first.
//!
//! `moka` is used as a bounded store only. It starts no thread, and it knows nothing of freshness, which
//! follows the clock of [`env`]. Its upkeep runs with each write, and its hashes are seeded from
//! [`env::random`]: in a simulation the same seed evicts the same answers, and outside no client can know
//! which keys collide.

use std::{
    fmt,
    hash::{BuildHasher, DefaultHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use axum_core::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use moka::future::Cache;
use rand::Rng;

use super::{
    CACHE_STATUS,
    freshness::{Freshness, varies_by},
};
use crate::config;

/// The most answers of one path that differ by headers; the oldest goes first.
const VARIANTS: usize = 8;

/// The answers of all routes. A clone is a handle to the same ones.
#[derive(Clone)]
pub struct Store {
    answers: Cache<String, Variants, Seeded>,
    entry: usize,
}

/// The newest first.
type Variants = Arc<[Arc<Stored>]>;

/// One stored answer, whose status is 200.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) freshness: Freshness,
    varies: Vec<(HeaderName, Vec<HeaderValue>)>,
}

/// What is stored of a request.
pub(super) enum Found {
    /// An answer to a request like this one, fresh or stale.
    Stored(Arc<Stored>),
    /// Only answers to requests that differ in a header that matters.
    OtherVariants,
    /// Nothing.
    Nothing,
}

impl Store {
    /// An empty store of that size.
    pub fn new(config: &config::Cache) -> Self {
        let answers = Cache::builder()
            .max_capacity(config.size.bytes())
            .weigher(|key: &String, variants: &Variants| {
                let bytes = variants.iter().map(|stored| stored.size()).sum::<usize>();
                u32::try_from(key.len() + bytes).unwrap_or(u32::MAX)
            })
            .build_with_hasher(Seeded(env::random().next_u64()));
        let entry = usize::try_from(config.entry.bytes()).unwrap_or(usize::MAX);
        Self { answers, entry }
    }

    /// Whether a body may be stored that says how long it is; it may turn out longer.
    pub(super) fn has_room_for(&self, response: &Response) -> bool {
        response.body().size_hint().lower() <= self.entry as u64
    }

    /// The longest body that is stored.
    pub(super) fn entry(&self) -> usize {
        self.entry
    }

    pub(super) async fn find(&self, key: &str, asked: &HeaderMap) -> Found {
        match self.answers.get(key).await {
            None => Found::Nothing,
            Some(variants) => variants
                .iter()
                .find(|stored| stored.answers(asked))
                .map_or(Found::OtherVariants, |stored| Found::Stored(stored.clone())),
        }
    }

    /// Stores an answer in the place of the one to requests like it.
    pub(super) async fn put(&self, key: String, stored: Arc<Stored>) {
        self.answers
            .entry(key)
            .and_upsert_with(async |known| {
                let known = known.map(|entry| entry.into_value());
                let others = known.iter().flat_map(|known| known.iter());
                let others = others.filter(|other| other.varies != stored.varies);
                std::iter::once(&stored)
                    .chain(others)
                    .take(VARIANTS)
                    .cloned()
                    .collect()
            })
            .await;
        // Now rather than when the store's own clock says so: its bound is firm, and eviction repeatable.
        self.answers.run_pending_tasks().await;
    }

    /// Drops all that is stored under `key`.
    pub(super) async fn forget(&self, key: &str) {
        self.answers.invalidate(key).await;
    }

    /// The bytes that the stored answers take.
    pub fn size(&self) -> u64 {
        self.answers.weighted_size()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// What will be stored of `response` once its body is there; `None` when it must not be.
    pub(super) fn begin(asked: &HeaderMap, response: &Response, limit: Duration) -> Option<Self> {
        let headers = response.headers();
        let freshness = Freshness::of(response.status(), headers, limit, env::instant())?;
        let values = |name: &HeaderName| asked.get_all(name).iter().cloned().collect();
        let varies = varies_by(headers)
            .into_iter()
            .map(|name| (name.clone(), values(&name)))
            .collect();
        let mut headers = headers.clone();
        headers.remove(CACHE_STATUS);
        Some(Self {
            headers,
            body: Bytes::new(),
            freshness,
            varies,
        })
    }

    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    fn answers(&self, asked: &HeaderMap) -> bool {
        let same = |(name, values): &(HeaderName, Vec<HeaderValue>)| {
            asked.get_all(name).iter().eq(values.iter())
        };
        self.varies.iter().all(same)
    }

    fn size(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let varies = self.varies.iter().flat_map(|(_, values)| values);
        let varies = varies.map(HeaderValue::len);
        size_of::<Self>() + self.body.len() + headers.chain(varies).sum::<usize>()
    }
}

/// SipHash under a seed that nobody outside knows.
#[derive(Clone)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
