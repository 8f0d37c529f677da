//! What works for a member in the background: it asks for events while somebody waits, gives back what nobody takes, says
//! that the member lives, and joins again where the hub does not know it any more.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use env::{Instant, chain};
use futures::{
    FutureExt,
    future::{Fuse, FusedFuture},
};
use http::Method;
use serde_json::json;

use super::{
    link::{self, Failure},
    member::Shared,
};
use crate::{Backoff, CloudEvent};

/// How long a pull lies at the hub.
const WAIT: Duration = Duration::from_secs(20);
/// How long leaving may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long to wait before a hub that is away is asked again.
const AGAIN: Backoff = Backoff {
    base: Duration::from_millis(100),
    limit: Duration::from_secs(5),
};

/// See the [module](self).
pub(super) struct Pump {
    shared: Arc<Shared>,
    /// When the hub last answered.
    heard: Instant,
    /// The hub may hold for us what we do not.
    is_untidy: bool,
    failures: u32,
    /// The hub is not asked before.
    not_before: Instant,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            heard: env::instant(),
            is_untidy: false,
            failures: 0,
            not_before: env::instant(),
        }
    }

    /// Works until the member is dropped, and then leaves the group.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        match stop.run_until_cancelled(self.work()).await {
            Some(never) => match never {},
            None => self.leave().await,
        }
    }

    async fn leave(&self) {
        let Some(session) = self.shared.state().session.take() else {
            return;
        };
        let leaving = self
            .shared
            .link
            .send(Method::DELETE, &session.path, Bytes::new());
        if !matches!(env::timeout(GOODBYE, leaving).await, Ok(Ok(_))) {
            tracing::debug!(
                group = self.shared.group,
                "the hub did not hear the goodbye"
            );
        }
    }

    async fn work(&mut self) -> Infallible {
        let shared = Arc::clone(&self.shared);
        let mut pulling = pin!(Fuse::terminated());
        loop {
            let now = env::instant();
            let is_pulling = !pulling.is_terminated();
            if shared.state().unwanted_at().is_some_and(|at| at <= now)
                && (is_pulling || shared.state().has_untaken())
            {
                // What the hub is just giving may be lost on its way.
                pulling.set(Fuse::terminated());
                shared.state().give_up_untaken();
                self.is_untidy = true;
            }
            if pulling.is_terminated() && self.not_before <= now {
                let wanted = shared.state().wanted();
                match wanted {
                    Some(limit) => pulling.set(pull(Arc::clone(&shared), limit).fuse()),
                    None if self.is_heartbeat_due(now) => self.heartbeat().await,
                    None => {}
                }
            }
            let is_pulling = !pulling.is_terminated();
            let wake_at = self.wake_at(is_pulling);
            tokio::select! {
                biased;
                pulled = &mut pulling, if is_pulling => self.heard(pulled),
                () = shared.work.notified() => {}
                () = env::sleep_until(wake_at) => {}
            }
        }
    }

    /// Notes how a request ended.
    fn heard(&mut self, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => {
                self.heard = env::instant();
                self.failures = 0;
                self.is_untidy = false;
                if self.shared.state().session.is_none() {
                    // It was told that it is no member, and joins again.
                    self.not_before = self.heard + AGAIN.base;
                }
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.not_before = env::instant() + AGAIN.delay(self.failures);
                let (group, error) = (&self.shared.group, chain(&failure));
                tracing::debug!(group, error, "a member has no word of the hub");
                self.shared.fail(failure);
            }
        }
    }

    /// A third of the lease, so that two may be lost.
    fn heartbeat_at(&self) -> Instant {
        let lease = self.shared.state().session.as_ref().map(|it| it.lease);
        self.heard + lease.unwrap_or(WAIT) / 3
    }

    fn is_heartbeat_due(&self, now: Instant) -> bool {
        let is_member = self.shared.state().session.is_some();
        is_member && (self.is_untidy || self.heartbeat_at() <= now)
    }

    fn wake_at(&self, is_pulling: bool) -> Instant {
        let state = self.shared.state();
        let unwanted = state.unwanted_at();
        if is_pulling || state.has_untaken() {
            return unwanted.unwrap_or_else(|| env::instant() + WAIT);
        }
        let is_asking = state.wanted().is_some() || self.is_untidy;
        drop(state);
        if is_asking {
            self.not_before
        } else {
            self.heartbeat_at().max(self.not_before)
        }
    }

    async fn heartbeat(&mut self) {
        let Some(session) = self.shared.state().session.clone() else {
            return;
        };
        let path = format!("{}/heartbeat", session.path);
        let body = json!({ "holds": self.shared.state().holds() }).to_string();
        let beat = self
            .shared
            .link
            .send(Method::POST, &path, body.into())
            .await;
        match beat {
            Err(failure) if failure.is("unknown-member") => {
                self.shared.forget(&session.path);
                self.heard(Ok(()));
            }
            beat => self.heard(beat.map(drop)),
        }
    }
}

/// Waits at the hub for at most `limit` events; joins the group before, where the hub does not know us.
async fn pull(shared: Arc<Shared>, limit: usize) -> Result<(), Failure> {
    let session = shared.state().session.clone();
    let session = match session {
        Some(session) => session,
        None => shared.join().await?,
    };
    let path = format!("{}/pull", session.path);
    let wait = u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX);
    let body = json!({ "limit": limit, "waitMs": wait, "holds": shared.state().holds() });
    let body = body.to_string().into();
    match shared.link.ask_after(WAIT, &path, body).await {
        Ok(answer) => {
            let events: Vec<CloudEvent> = link::read(&answer)?;
            shared.take(&session, events);
            Ok(())
        }
        Err(failure) if failure.is("unknown-member") => {
            shared.forget(&session.path);
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}
