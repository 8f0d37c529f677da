//! Whether a NATS server is set as the guarantees need it.
//!
//! JetStream acknowledges what it has not yet synced to its disk, unless it is told to sync always: a crash of the
//! machine can then lose what was acknowledged, up to two minutes of it by default (nats-server #7564, and Jepsen's
//! analysis of NATS 2.12.1). The outboxes keep what they have published for a while, so that it can be published again;
//! but the server that loses nothing is the one that is set so.

use std::time::Duration;

use env::{Finding, Severity, chain};
use futures::future;

use super::{
    connection::Connection,
    monitor,
    options::{Options, Target},
    stream, whole,
};
use crate::{Error, Result};

/// What an operator sets.
const ADVICE: &str = "set `jetstream { sync_interval: always }` in the server's configuration";
/// For how long the outboxes keep what they have published.
const OUTBOX: Duration = Duration::from_secs(60 * 60);

/// Looks at the server and the stream at `url`, and changes nothing.
///
/// # Errors
/// [`Error::InvalidUrl`]. A server that does not answer is a finding.
pub async fn check(url: &str, options: Options) -> Result<Vec<Finding>> {
    let target = Target::parse(url, options)?;
    let name = format!("NATS {}", target.name());
    let connection = Connection::open(target).await?;
    let mut findings = Vec::new();
    match connection.ready().await {
        Ok(_) => {
            let version = connection.client.server_info().version;
            findings.push(Finding::fine(&name, format!("answers, version {version}")));
        }
        Err(error) => {
            let advice = match error {
                Error::Unavailable { .. } => "start it, or correct `messaging.bus`",
                _ => "",
            };
            findings.push(Finding::new(Severity::Error, &name, chain(&error), advice));
            return Ok(findings);
        }
    }
    findings.extend(sync(&connection).await);
    findings.extend(stream_findings(&connection).await);
    Ok(findings)
}

/// Says in the log, once there is a connection, which of its servers acknowledge before they sync, or may do so.
pub(super) async fn warn(connection: Connection) {
    connection.connected().await;
    for finding in sync(&connection).await {
        if finding.severity != Severity::Fine {
            tracing::warn!(
                server = finding.subject,
                advice = finding.advice,
                "{}",
                finding.found
            );
        }
    }
}

async fn sync(connection: &Connection) -> Vec<Finding> {
    let places = monitor::places(&connection.target);
    let several = places.len() > 1;
    let looking = places.into_iter().map(async |place| {
        let mut subject = format!("NATS {}", connection.target.name());
        if let (true, Ok(place)) = (several, &place) {
            subject = format!("NATS, monitored at {place}");
        }
        sync_at(place, format!("{subject}, sync")).await
    });
    future::join_all(looking).await
}

async fn sync_at(place: Result<String, String>, subject: String) -> Finding {
    let seen = match place {
        Ok(place) => monitor::sync(&place).await,
        Err(reason) => Err(reason),
    };
    match seen {
        Ok(sync) if sync.always => Finding::fine(subject, "writes to disk before it acknowledges"),
        Ok(sync) => Finding::new(
            Severity::Warning,
            subject,
            format!(
                "acknowledges events up to {:?} before they are on its disk: a crash of its machine can lose them",
                sync.interval
            ),
            ADVICE,
        ),
        Err(reason) => Finding::new(
            Severity::Warning,
            subject,
            format!("whether it writes to disk before it acknowledges cannot be seen: {reason}"),
            format!(
                "{ADVICE}; to have it checked, set `http_port: 8222` there and, if that cannot be reached at its host, \
                 `?monitor=http://host:8222` here, with commas between those of several servers"
            ),
        ),
    }
}

async fn stream_findings(connection: &Connection) -> Vec<Finding> {
    let options = &connection.target.options;
    let subject = format!("NATS stream `{}`", options.stream);
    let config = match stream::find(connection).await {
        Ok(Some(info)) => info.config,
        Ok(None) => {
            let advice = "the first service to start makes it";
            return vec![Finding::new(
                Severity::Note,
                subject,
                "there is none",
                advice,
            )];
        }
        Err(error) => return vec![Finding::new(Severity::Error, subject, chain(&error), "")],
    };
    let partitions = match stream::check(&config, options) {
        Ok(partitions) => partitions,
        Err(error) => return vec![Finding::new(Severity::Error, subject, chain(&error), "")],
    };
    let mut findings = vec![Finding::fine(
        &subject,
        format!("holds what the guarantees need, {partitions} partitions"),
    )];
    if whole::is_known_to(connection) && !config.allow_atomic_publish {
        findings.push(Finding::new(
            Severity::Note,
            &subject,
            "takes no batches as a whole, so the server syncs for each event",
            format!("`nats stream edit {} --allow-batch`", options.stream),
        ));
    }
    if config.num_replicas != options.replicas {
        findings.push(Finding::new(
            Severity::Warning,
            &subject,
            format!(
                "is kept on {} servers, not {}",
                config.num_replicas, options.replicas
            ),
            format!(
                "`nats stream edit {} --replicas {}`",
                options.stream, options.replicas
            ),
        ));
    }
    if config.max_age != options.max_age {
        findings.push(Finding::new(
            Severity::Note,
            &subject,
            format!(
                "drops events after {:?}, not {:?}",
                config.max_age, options.max_age
            ),
            format!("`nats stream edit {} --max-age`", options.stream),
        ));
    }
    let window = config.duplicate_window;
    findings.push(if window < options.dedupe_window {
        Finding::new(
            Severity::Warning,
            &subject,
            format!("knows an id for {window:?}, not {:?}", options.dedupe_window),
            format!("`nats stream edit {} --dupe-window`", options.stream),
        )
    } else if window < OUTBOX {
        Finding::new(
            Severity::Note,
            &subject,
            format!(
                "knows an id for {window:?}; what outboxes publish again from {OUTBOX:?} back takes its space twice, \
                 and is handled once"
            ),
            "",
        )
    } else {
        Finding::fine(&subject, format!("knows an id for {window:?}"))
    });
    findings
}
