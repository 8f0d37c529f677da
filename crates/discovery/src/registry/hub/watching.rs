//! Following the instances of one service, through every absence of the hub.

use std::{sync::Arc, time::Duration};

use axum_core::body::Body;
use env::chain;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::BodyExt;
use resilience::retry::Backoff;

use super::{
    link::{self, Link},
    sse::{Event, Parser},
};
use crate::{Instance, Result, balance::chance, registry::watches::Told};

/// How often a hub that does not say it sends something at least.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After so many times that without a word, it is gone.
const MISSED: u32 = 3;
/// The shortest and the longest that a hub may be silent, whatever it says.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(600));
/// How long to wait before the hub is asked again.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};

pub(super) struct Watching {
    pub(super) link: Arc<Link>,
    pub(super) service: String,
    pub(super) told: Told,
}

/// What the stream has told so far.
#[derive(Default)]
struct Progress {
    /// The last event that was taken; the hub repeats nothing that is known.
    last: Option<HeaderValue>,
    failures: u32,
}

impl Watching {
    /// Tells of every change, for ever.
    pub(super) async fn run(self) {
        let mut progress = Progress::default();
        loop {
            self.try_follow(&mut progress).await;
        }
    }

    /// Follows until the stream breaks off, then waits for as long as it seems wise.
    async fn try_follow(&self, progress: &mut Progress) {
        if let Err(error) = self.follow(progress).await {
            let (service, error) = (&self.service, chain(&error));
            if progress.failures == 0 {
                tracing::warn!(
                    error = %error, service,
                    "the hub is away; what is known of its instances stays in use"
                );
            }
        }
        progress.failures = progress.failures.saturating_add(1);
        env::sleep(BACKOFF.wait(progress.failures, chance())).await;
    }

    async fn follow(&self, progress: &mut Progress) -> Result<()> {
        let path = link::path("/v1/registry/services/{service}/watch", &self.service);
        let mut request = Request::builder().header(header::ACCEPT, "text/event-stream");
        if let Some(last) = &progress.last {
            request = request.header("last-event-id", last);
        }
        let answer = self.link.send(request, &path, Body::empty());
        let answer = env::timeout(KEEP_ALIVE, answer)
            .await
            .map_err(Link::away)??;
        let silence = silence(answer.headers());
        let mut body = answer.into_body();
        let mut parser = Parser::default();
        while let Some(frame) = env::timeout(silence, body.frame())
            .await
            .map_err(Link::away)?
        {
            let frame = frame.map_err(Link::away)?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            for event in parser.read(bytes).map_err(Link::away)? {
                self.take(&event, progress)?;
            }
            if progress.failures > 0 {
                tracing::info!(service = self.service, "the hub is back");
                progress.failures = 0;
            }
        }
        Ok(())
    }

    fn take(&self, event: &Event, progress: &mut Progress) -> Result<()> {
        let instances: Vec<Instance> = serde_json::from_str(&event.data).map_err(Link::away)?;
        let instances = instances.into_iter().map(Arc::new).collect();
        self.told.send_replace(instances);
        progress.last = event
            .id
            .as_deref()
            .and_then(|id| HeaderValue::from_str(id).ok());
        Ok(())
    }
}

/// How long the hub may be silent, as it announces.
fn silence(headers: &HeaderMap) -> Duration {
    let announced = headers.get(super::KEEP_ALIVE);
    let announced = announced.and_then(|it| it.to_str().ok()?.parse().ok());
    let keep_alive = announced.map_or(KEEP_ALIVE, Duration::from_millis);
    let (shortest, longest) = BOUNDS;
    keep_alive.saturating_mul(MISSED).clamp(shortest, longest)
}
