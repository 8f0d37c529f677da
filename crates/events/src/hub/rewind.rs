//! Taking a group back, while the hub gives it nothing.

use std::time::Duration;

use bytes::Bytes;
use env::Timestamp;
use futures::future::BoxFuture;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::link::{self, Failure, Link};
use crate::{Error, Result};

/// How long the hub waits for what the members hold.
const QUIET: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    rewind: String,
    lease_ms: u64,
}

pub(super) async fn rewind(
    link: &Link,
    group: &str,
    since: Timestamp,
    meanwhile: BoxFuture<'_, Result<()>>,
) -> Result<()> {
    let path = format!("{}/rewinds", link::group(group));
    let body = json!({ "since": since }).to_string();
    let begun = link.ask_after(QUIET, &path, body.into()).await;
    let begun = begun.map_err(|failure| match failure {
        failure if failure.is("unknown-group") => Error::UnknownGroup {
            group: group.to_owned(),
        },
        failure => failure.into(),
    })?;
    let begun: Begun = link::read(&begun)?;
    let path = format!("{path}/{}", begun.rewind);
    let lease = Duration::from_millis(begun.lease_ms);
    tokio::select! {
        biased;
        done = meanwhile => if let Err(error) = done {
            // Where the hub does not hear it, the group goes on when the lease is over.
            _ = link.send(Method::DELETE, &path, Bytes::new()).await;
            return Err(error);
        },
        lost = keep(link, &path, lease) => return Err(lost.into()),
    }
    let finish = format!("{path}/finish");
    link.ask_after(QUIET, &finish, Bytes::new()).await?;
    Ok(())
}

/// Keeps the group quiet; resolves when that cannot be.
async fn keep(link: &Link, path: &str, lease: Duration) -> Failure {
    let path = format!("{path}/heartbeat");
    let mut heard = env::instant();
    loop {
        env::sleep(lease / 4).await;
        match link.send(Method::POST, &path, Bytes::new()).await {
            Ok(_) => heard = env::instant(),
            Err(failure @ Failure::Refused(_)) => return failure,
            Err(failure) if heard.elapsed() >= lease => return failure,
            Err(_) => {}
        }
    }
}
