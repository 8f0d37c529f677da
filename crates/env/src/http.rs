//! The HTTP client under everything: pooled connections over the sockets of the seam.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::body::Body;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use crate::net::{self, Stream};

/// How long an idle connection is kept: less than servers keep one (`outrigger::server` 30 s, most others 60 s and
/// more), for a request on a connection that the server is just ending fails.
const IDLE: Duration = Duration::from_secs(15);
/// How many idle connections to one address are kept.
const IDLE_CONNECTIONS: usize = 128;

/// How long it may take to connect where nothing else is said: 2 s. An instance that does not answer to that leaves time
/// for another.
pub const DEFAULT_CONNECT: Duration = Duration::from_secs(2);

/// Makes requests to addresses. Cheap to clone; connections are kept and shared.
pub type HttpClient = Client<Connector, Body>;

/// A client with no connections yet.
pub fn http_client() -> HttpClient {
    http_client_within(DEFAULT_CONNECT)
}

/// A client with no connections yet, which gives up connecting after `connect`.
pub fn http_client_within(connect: Duration) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(Connector { limit: connect })
}

/// Connects to the host and port that a URI names.
#[derive(Debug, Clone, Copy)]
pub struct Connector {
    limit: Duration,
}

impl tower::Service<Uri> for Connector {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        Box::pin(async move {
            let place = uri
                .authority()
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no host is named"))?;
            let connecting = net::connect_to(place.as_str());
            let stream = crate::timeout(limit, connecting).await??;
            Ok(Link(TokioIo::new(stream)))
        })
    }
}

/// A connection to an instance.
pub struct Link(TokioIo<Stream>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Where a server is that has a URL of its own, such as `http://hub:7700`: as `host:port`, to be looked up for each
/// connection, because a server that is restarted elsewhere keeps its name. `port` is for a URL that names none.
///
/// # Errors
/// What is wrong with the URL, in words; never a part of it.
pub fn authority(url: &str, port: u16) -> Result<String, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
    if uri.scheme_str() != Some("http") {
        return Err("its scheme is not http");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("a path or a query has no meaning there");
    }
    let host = uri.host().ok_or("it names no host")?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(port)))
}
