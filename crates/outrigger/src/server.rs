//! Serving HTTP/1.1 and HTTP/2 on a listener of the seam, with a graceful stop.
//!
//! `axum::serve` offers neither a timer for hyper nor limits, so the accept loop is here. No client holds a connection
//! without saying anything, and there are at most so many connections; those beyond wait to be accepted.

mod linger;
mod patience;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, http};
use env::net::Listener;
use gateway::ClientAddress;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

pub use linger::Lingering;

use self::patience::Patience;

/// The most connections at a time.
const CONNECTIONS: usize = 10_000;
/// How long a client may take to send the head of a request, from the end of the one before. Longer than
/// `discovery`'s client keeps a connection idle, so that none of its requests meets a connection that is just ending.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The most that the head of a request may hold, in bytes.
const HEADER_LIMIT: usize = 64 * 1024;
/// How long accepting pauses when the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `service` until `stop`, then lets what is in flight finish for at most `drain`.
pub async fn serve<S>(mut listener: Listener, service: S, stop: CancellationToken, drain: Duration)
where
    S: Service<http::Request<Lingering>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let connections = GracefulShutdown::new();
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_LIMIT);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIMIT as u32);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                env::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let mut service = service.clone();
        let with_client = tower::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ClientAddress(client));
            let (head, body) = request.into_parts();
            let body = Lingering::new(body, head.version, &head.headers);
            service.call(http::Request::from_parts(head, body))
        });
        let connection = http
            .serve_connection_with_upgrades(
                TokioIo::new(Patience::new(stream, HEADER_TIMEOUT)),
                TowerToHyperService::new(with_client),
            )
            .into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection broke off");
            }
            drop(place);
        });
    }
    drop(listener);
    if env::timeout(drain, connections.shutdown()).await.is_err() {
        tracing::warn!(
            ?drain,
            "connections were still open when the time to drain was over"
        );
    }
}
