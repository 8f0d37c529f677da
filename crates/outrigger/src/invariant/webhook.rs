//! Telling somebody outside of alerts: `POST` with the JSON that Alertmanager sends to its webhooks (version 4), for which
//! there are receivers for every chat and pager.
//!
//! Each alert is delivered once, in order. One that cannot be is tried again, ever more seldom, for about two hours; a
//! receiver that refuses it is not asked again.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode, Uri, header},
};
use env::{
    Timestamp, chain,
    http::{HttpClient, Origin},
    tls::Authorities,
};
use events::Backoff;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Alert;
use crate::settings::Invariants;

/// How many alerts wait to be delivered.
const QUEUE: usize = 256;
/// How long the receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one is delivered before it is given up.
const ATTEMPTS: u32 = 32;
/// Between two tries, doubled from the first to the last.
const PAUSES: Backoff = Backoff {
    base: Duration::from_secs(1),
    limit: Duration::from_mins(5),
};

/// What takes alerts for the receiver.
pub(super) struct Webhook {
    system: String,
    queue: mpsc::Sender<Value>,
}

impl Webhook {
    /// For the receiver that `settings` name, if they do; and what delivers to it as long as it is polled.
    pub(super) fn of(
        system: &str,
        settings: &Invariants,
    ) -> Option<(Self, impl Future<Output = Infallible>)> {
        let url = settings.webhook.as_ref()?.reveal();
        let authorities = settings.webhook_ca.clone();
        let authorities = authorities.map_or(Authorities::System, Authorities::File);
        let receiver = receiver(url, authorities);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let webhook = Self {
            system: system.to_owned(),
            queue,
        };
        Some((webhook, deliver(receiver, waiting)))
    }

    /// Has the receiver told.
    pub(super) fn tell(&self, alert: &Alert) {
        if self
            .queue
            .try_send(notice(&self.system, alert, env::now()))
            .is_err()
        {
            let invariant = &alert.invariant;
            tracing::error!(
                invariant,
                "too many alerts wait for the webhook: this one is not delivered"
            );
        }
    }
}

/// An alert as Alertmanager tells it.
fn notice(system: &str, alert: &Alert, at: Timestamp) -> Value {
    let Alert { invariant, found } = alert;
    let status = if found.is_some() {
        "firing"
    } else {
        "resolved"
    };
    let labels = json!({
        "alertname": "InvariantViolated",
        "invariant": invariant,
        "system": system,
        "severity": "critical",
    });
    let annotations = json!({
        "summary": alert.to_string(),
        "description": found.as_ref().map(ToString::to_string).unwrap_or_default(),
    });
    let ends = if found.is_some() {
        "0001-01-01T00:00:00Z".to_owned()
    } else {
        at.to_string()
    };
    let group = format!("{{}}:{{invariant={invariant:?}, system={system:?}}}");
    json!({
        "version": "4",
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "outrigger",
        "groupLabels": { "invariant": invariant, "system": system },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": at.to_string(),
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": fingerprint(system, invariant),
        }],
    })
}

/// The same for what is the same: sixteen hex digits, by FNV-1a.
fn fingerprint(system: &str, invariant: &str) -> String {
    let bytes = system.bytes().chain([0]).chain(invariant.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

async fn deliver(
    receiver: Result<(HttpClient, Uri), String>,
    mut waiting: mpsc::Receiver<Value>,
) -> Infallible {
    let (client, url) = match receiver {
        Ok(receiver) => receiver,
        Err(reason) => {
            tracing::error!(reason, "the webhook is told of nothing");
            return std::future::pending().await;
        }
    };
    while let Some(notice) = waiting.recv().await {
        let mut attempt = 1;
        while let Err(failure) = post(&client, &url, &notice).await {
            let error = failure.reason;
            if failure.is_final || attempt == ATTEMPTS {
                tracing::error!(error, attempt, "an alert is not delivered to the webhook");
                break;
            }
            tracing::warn!(error, attempt, "the webhook is told of an alert again");
            env::sleep(PAUSES.delay(attempt)).await;
            attempt += 1;
        }
    }
    std::future::pending().await
}

/// A client for the receiver, for which one of `authorities` vouches, and its URL with the port that is usual where it
/// names none.
fn receiver(url: &str, authorities: Authorities) -> Result<(HttpClient, Uri), String> {
    const HTTP: u16 = 80;
    let wrong = |_| "its URL cannot be read".to_owned();
    let parts = url.parse::<Uri>().map_err(wrong)?.into_parts();
    let scheme = parts.scheme.as_ref().map_or("", |scheme| scheme.as_str());
    let place = parts.authority.as_ref().map_or("", |place| place.as_str());
    let origin = Origin::parse(&format!("{scheme}://{place}"), HTTP)?.trusting(authorities);
    let path = parts
        .path_and_query
        .as_ref()
        .map_or("/", |path| path.as_str());
    let url = format!("{origin}{path}").parse();
    Ok((origin.client()?, url.map_err(|_| "its URL cannot be read")?))
}

struct Failure {
    reason: String,
    /// The same would be refused again.
    is_final: bool,
}

async fn post(client: &HttpClient, url: &Uri, notice: &Value) -> Result<(), Failure> {
    let failed = |reason| Failure {
        reason,
        is_final: false,
    };
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(notice.to_string()));
    let request = request.map_err(|error| failed(chain(&error)))?;
    let answer = env::timeout(PATIENCE, client.request(request)).await;
    let answer = answer.map_err(|_| failed(format!("no answer within {PATIENCE:?}")))?;
    let status = answer.map_err(|error| failed(chain(&error)))?.status();
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    match status.is_success() {
        true => Ok(()),
        false => Err(Failure {
            reason: format!("it answers {status}"),
            is_final: status.is_client_error() && !later.contains(&status),
        }),
    }
}
