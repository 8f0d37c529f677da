//! Following the slices of one service, through every absence of the API server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use env::chain;
use http::StatusCode;
use http_body_util::BodyExt;
use resilience::retry::Backoff;
use serde::Deserialize;

use super::{
    api::{Api, Status, WATCH, away},
    slices::{self, EndpointSlice, Metadata},
};
use crate::{
    Error, Result,
    balance::chance,
    registry::watches::{self, Told},
};

/// A watch ends by itself: one that is silent for so long has no other side any more.
const SILENCE: Duration = WATCH.saturating_add(Duration::from_secs(30));
/// How long to wait before the API server is asked again.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};
/// The most bytes of one change: more than the store of a cluster takes for an object.
const LINE_LIMIT: usize = 4 * 1024 * 1024;

/// A service whose slices are followed.
pub(super) struct Following {
    api: Arc<Api>,
    service: String,
    port: Arc<str>,
    told: Told,
    /// The slices by name.
    slices: BTreeMap<String, EndpointSlice>,
    /// Of which version they are; `None` before they are listed, and where they must be listed again.
    version: Option<String>,
    /// Whether the API server did not do what was asked last.
    is_away: bool,
}

/// A line of a watch.
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum Change {
    Added(EndpointSlice),
    Modified(EndpointSlice),
    Deleted(EndpointSlice),
    /// Nothing has changed up to this version.
    Bookmark(Bookmark),
    Error(Status),
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

impl Following {
    pub(super) fn new(api: Arc<Api>, service: &str, port: Arc<str>, told: Told) -> Self {
        Self {
            api,
            service: service.to_owned(),
            port,
            told,
            slices: BTreeMap::new(),
            version: None,
            is_away: false,
        }
    }

    /// Tells of every change, for ever.
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let begun = env::instant();
            if let Err(error) = self.follow().await {
                self.note(&error);
            }
            failures = match begun.elapsed() < BACKOFF.cap {
                true => failures.saturating_add(1),
                false => 1,
            };
            env::sleep(BACKOFF.wait(failures, chance())).await;
        }
    }

    /// Says that the API server is away, once.
    fn note(&mut self, error: &Error) {
        if self.is_away {
            return;
        }
        self.is_away = true;
        let (service, error) = (&self.service, chain(error));
        tracing::warn!(
            error,
            service,
            "the API server of Kubernetes does not say who is there; what is known stays in use"
        );
    }

    /// Follows until the watch ends, as it does from time to time.
    async fn follow(&mut self) -> Result<()> {
        let version = match self.version.take() {
            Some(version) => version,
            None => self.list().await?,
        };
        self.version = Some(version.clone());
        let mut watch = match self.api.watch(&self.service, &version).await? {
            Ok(watch) => watch,
            Err(status) => return self.start_over(status),
        };
        if std::mem::take(&mut self.is_away) {
            tracing::info!(
                service = self.service,
                "the API server of Kubernetes is back"
            );
        }
        let mut line = Vec::new();
        while let Some(frame) = env::timeout(SILENCE, watch.frame()).await.map_err(away)? {
            let frame = frame.map_err(away)?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if line.len() > LINE_LIMIT {
                    return Err(away("a change is larger than any slice"));
                }
                if line.ends_with(b"\n") {
                    if let Some(status) = self.take(&line)? {
                        return self.start_over(status);
                    }
                    line.clear();
                }
            }
        }
        Ok(())
    }

    /// Reads all slices anew; returns their version.
    async fn list(&mut self) -> Result<String> {
        let listed = self.api.list(Some(&self.service)).await?;
        let version = listed.version().unwrap_or_default().to_owned();
        let named = |slice: EndpointSlice| (slice.metadata.name.clone(), slice);
        self.slices = listed.items.into_iter().map(named).collect();
        self.tell();
        Ok(version)
    }

    /// The API server does not go on from the version that is known: all must be listed again.
    fn start_over(&mut self, status: Status) -> Result<()> {
        self.version = None;
        if status.code == StatusCode::GONE.as_u16() {
            return Ok(());
        }
        Err(self.api.refused(status))
    }

    /// Takes a change, or says what came in place of one.
    fn take(&mut self, line: &[u8]) -> Result<Option<Status>> {
        // What cannot be read may have been anything: all must be listed again then.
        let known = self.version.take();
        let version = match serde_json::from_slice(line).map_err(away)? {
            Change::Added(slice) | Change::Modified(slice) => {
                let version = slice.metadata.resource_version.clone();
                self.slices.insert(slice.metadata.name.clone(), slice);
                self.tell();
                version
            }
            Change::Deleted(slice) => {
                self.slices.remove(&slice.metadata.name);
                self.tell();
                slice.metadata.resource_version
            }
            Change::Bookmark(bookmark) => bookmark.metadata.resource_version,
            Change::Error(status) => return Ok(Some(status)),
        };
        self.version = version.or(known);
        Ok(None)
    }

    fn tell(&self) {
        let found = slices::instances(&self.service, &self.port, self.slices.values());
        watches::tell(&self.told, found);
    }
}
