//! What a server owes clients that send more than it wants, or nothing at all.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use env::{BoxError, net::Stream};
use outrigger::{env, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

type Done = Result<(), BoxError>;

/// Refuses everything before it has read any of it.
async fn start() -> Result<(SocketAddr, CancellationToken), BoxError> {
    let listener = env::net::listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/", post(async || StatusCode::PAYLOAD_TOO_LARGE));
    let stop = CancellationToken::new();
    let serving = server::serve(listener, routes, stop.clone(), Duration::from_secs(5));
    tokio::spawn(serving);
    Ok((address, stop))
}

async fn read(stream: &mut Stream) -> Result<String, BoxError> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer)?)
}

#[tokio::test]
async fn whoever_sends_more_than_is_wanted_still_reads_why() -> Done {
    let (address, _stop) = start().await?;
    for length in [100_000, 3_000_000, 20_000_000] {
        let mut stream = env::net::connect(address).await?;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        // All of it before a look at the answer, as many clients do.
        stream.write_all(&vec![b' '; length]).await?;
        let answer = read(&mut stream).await?;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn g9_a_connection_on_which_nothing_is_said_ends() -> Done {
    let (address, _stop) = start().await?;
    let mut stream = env::net::connect(address).await?;
    let limit = Duration::from_secs(60);
    assert_eq!(env::timeout(limit, read(&mut stream)).await??, "");
    Ok(())
}
