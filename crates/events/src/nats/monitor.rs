//! What the monitoring of a NATS server says of how it writes to disk. Clients are not told.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::options::Target;

/// Where monitoring listens by default.
const PORT: u16 = 8222;
/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const SIZE: u64 = 1024 * 1024;

/// How the server syncs its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sync {
    /// Before it acknowledges.
    pub(super) always: bool,
    /// How often otherwise.
    pub(super) interval: Duration,
}

#[derive(Deserialize)]
struct Answer {
    config: Option<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    sync_always: bool,
    /// In nanoseconds.
    #[serde(default)]
    sync_interval: u64,
}

/// The places where the monitoring of the servers of `target` is: those that it names, or else the usual one of each.
pub(super) fn places(target: &Target) -> Vec<Result<String, String>> {
    match &target.options.monitor {
        Some(urls) => urls.split(',').map(named).collect(),
        None => target.servers.iter().map(|server| usual(server)).collect(),
    }
}

/// Asks the monitoring at `place`; otherwise says why it cannot be seen.
pub(super) async fn sync(place: &str) -> Result<Sync, String> {
    let asked = env::timeout(LIMIT, get(place)).await;
    let body = asked
        .map_err(|_| format!("{place} does not answer"))?
        .map_err(|error| format!("{place} cannot be asked: {error}"))?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| format!("{place} does not answer as NATS does: {error}"))?;
    let configuration = answer
        .config
        .ok_or_else(|| format!("{place} does not say how JetStream is set"))?;
    Ok(Sync {
        always: configuration.sync_always,
        interval: Duration::from_nanos(configuration.sync_interval),
    })
}

fn named(url: &str) -> Result<String, String> {
    let place = url.strip_prefix("http://");
    let place = place.map(|it| it.trim_end_matches('/').to_owned());
    place.ok_or_else(|| format!("`monitor` is http://host:port, not `{url}`"))
}

fn usual(server: &str) -> Result<String, String> {
    let address: async_nats::ServerAddr = server
        .parse()
        .map_err(|error| format!("`{server}` is no server: {error}"))?;
    let host = address.host();
    Ok(if host.contains(':') {
        format!("[{host}]:{PORT}")
    } else {
        format!("{host}:{PORT}")
    })
}

async fn get(place: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = env::net::connect_to(place).await?;
    let request = format!("GET /jsz?config=1 HTTP/1.0\r\nHost: {place}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(SIZE).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let body = end.map_or(answer.len(), |end| end + 4);
    Ok(answer.split_off(body))
}
