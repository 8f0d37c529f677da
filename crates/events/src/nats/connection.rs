//! The connection to the server: kept for ever, and what is known of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{self, Context},
};
use tokio::sync::watch;

use super::options::Target;
use crate::{Backoff, Error, Result};

/// The first version with several filter subjects to a consumer, and with metadata.
const NEEDED: (u32, u32) = (2, 10);
/// How the server is tried again. The first attempt is at once.
const RECONNECT: Backoff = Backoff {
    base: Duration::from_millis(50),
    limit: Duration::from_secs(2),
};

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    pub(super) target: Arc<Target>,
    state: watch::Receiver<State>,
    /// What the server, or the way to it, said last when it refused.
    complaint: Arc<Mutex<Option<String>>>,
}

/// Whether there is a connection, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) up: bool,
    /// Counted up with every connection.
    pub(super) number: u64,
}

impl Connection {
    /// Starts to connect, and goes on until it has succeeded, whenever the connection is lost again too.
    pub(super) async fn open(target: Target) -> Result<Self> {
        let (sender, state) = watch::channel(State::default());
        let sender = Arc::new(sender);
        let complaint = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&complaint);
        let name = target.name();
        let options = credentials(&target).await?;
        let client = options
            .name("outrigger")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(target.options.timeout)
            .request_timeout(Some(target.options.timeout))
            .reconnect_delay_callback(|attempt| match attempt {
                0 | 1 => Duration::ZERO,
                more => RECONNECT.delay(u32::try_from(more).unwrap_or(u32::MAX)),
            })
            .event_callback(move |event| {
                note(&name, &event, &sender, &heard);
                std::future::ready(())
            })
            .connect(addresses(&target)?)
            .await
            .map_err(|error| Error::Unavailable {
                source: error.into(),
            })?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(target.options.timeout)
            .ack_timeout(target.options.timeout)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            target: Arc::new(target),
            state,
            complaint,
        })
    }

    /// The state, and word of its changes.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Resolves when there is a connection, whenever that is.
    pub(super) async fn connected(&self) {
        let mut state = self.state.clone();
        // Without a sender there never is one; whoever waits is stopped by others.
        if state.wait_for(|state| state.up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether there is one now.
    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().up
    }

    /// Waits until there is a connection, not longer than an answer may take; then checks the server's version.
    pub(super) async fn ready(&self) -> Result<State> {
        let mut state = self.state.clone();
        let up = env::timeout(
            self.target.options.timeout,
            state.wait_for(|state| state.up),
        )
        .await;
        let state = match up {
            Ok(Ok(state)) => *state,
            Ok(Err(_)) | Err(_) => return Err(self.away()),
        };
        self.check_version()?;
        Ok(state)
    }

    /// Resolves when the connection of the number `number` is no more.
    pub(super) async fn lost(&self, number: u64) {
        let mut state = self.state.clone();
        // Without a sender there is no connection either.
        _ = state
            .wait_for(|state| !state.up || state.number != number)
            .await;
    }

    /// Why nothing can be asked now.
    pub(super) fn away(&self) -> Error {
        let complaint = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let said = complaint.as_deref().unwrap_or("it does not answer");
        Error::Unavailable {
            source: format!("no connection to {}: {said}", self.target.name()).into(),
        }
    }

    fn check_version(&self) -> Result<()> {
        let found = self.client.server_info().version;
        if version(&found) >= NEEDED {
            return Ok(());
        }
        let (major, minor) = NEEDED;
        Err(Error::Unsuitable {
            what: format!("the NATS server {}", self.target.name()),
            reason: format!(
                "it has version {found}, {major}.{minor} or later is needed; install one from https://nats.io/download \
                 (some distributions have an older one)"
            ),
        })
    }
}

/// Major and minor; a version that is not understood is taken for a new one.
pub(super) fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (u32::MAX, 0),
    }
}

fn addresses(target: &Target) -> Result<Vec<async_nats::ServerAddr>> {
    let parse = |server: &String| {
        server.parse().map_err(|error| Error::InvalidUrl {
            reason: format!("`{server}` is no server: {error}"),
        })
    };
    target.servers.iter().map(parse).collect()
}

async fn credentials(target: &Target) -> Result<ConnectOptions> {
    let given = &target.options;
    let mut options = ConnectOptions::new().require_tls(target.tls);
    if let Some((user, password)) = &given.user {
        options = options.user_and_password(user.clone(), password.reveal().to_owned());
    }
    if let Some(token) = &given.token {
        options = options.token(token.reveal().to_owned());
    }
    if let Some(ca) = &given.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &given.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(file) = &given.credentials {
        options = options
            .credentials_file(file)
            .await
            .map_err(|error| Error::InvalidUrl {
                reason: format!("its credentials {} cannot be read: {error}", file.display()),
            })?;
    }
    Ok(options)
}

fn note(
    server: &str,
    event: &Event,
    state: &watch::Sender<State>,
    complaint: &Mutex<Option<String>>,
) {
    match event {
        Event::Connected => {
            tracing::info!(server, "connected to NATS");
            state.send_modify(|state| {
                state.up = true;
                state.number += 1;
            });
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!(server, "the connection to NATS is lost; it is tried again");
            state.send_modify(|state| state.up = false);
        }
        Event::ServerError(error) => {
            let text = explain(server, &error.to_string());
            tracing::warn!(server, error = text, "NATS complains");
            *complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
        Event::ClientError(error) => {
            let text = explain(server, &error.to_string());
            tracing::debug!(server, error = text, "NATS cannot be reached");
            *complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
        Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining => {
            tracing::info!(server, event = event.to_string(), "NATS says");
        }
    }
}

/// What was said, with what to do where that is known.
fn explain(server: &str, text: &str) -> String {
    if text
        .to_ascii_lowercase()
        .contains("authorization violation")
    {
        "it refuses the user; check user, password, token or credentials".to_owned()
    } else if server.contains("tls://") && text.contains("IO error") {
        // The client says no more of it.
        format!(
            "{text}; if it listens, check that it speaks TLS, and `ca`, `certificate` and `key`"
        )
    } else {
        text.to_owned()
    }
}
