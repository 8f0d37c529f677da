//! The HTTP client under everything: pooled connections over the sockets of the seam, encrypted where it is told whom
//! to believe.

use std::{
    fmt,
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::body::Body;
use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use percent_encoding::percent_decode_str;

use crate::{
    chain,
    net::{self, Stream},
    tls::{Authorities, Tls},
};

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

/// A client with no connections yet. It encrypts none.
pub fn http_client() -> HttpClient {
    http_client_within(DEFAULT_CONNECT)
}

/// The same, which gives up connecting after `connect`.
pub fn http_client_within(connect: Duration) -> HttpClient {
    client(Connector {
        limit: connect,
        tls: None,
    })
}

/// A client with no connections yet, which encrypts those to `https`.
pub fn https_client(tls: Tls) -> HttpClient {
    client(Connector {
        limit: DEFAULT_CONNECT,
        tls: Some(tls),
    })
}

fn client(connector: Connector) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector)
}

/// Connects to the host and port that a URI names.
#[derive(Debug, Clone)]
pub struct Connector {
    limit: Duration,
    tls: Option<Tls>,
}

impl tower::Service<Uri> for Connector {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { limit, tls } = self.clone();
        Box::pin(async move {
            let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
            let place = uri.authority().ok_or_else(|| invalid("no host is named"))?;
            let connecting = async {
                let stream = net::connect_to(place.as_str()).await?;
                match tls {
                    _ if uri.scheme() != Some(&Scheme::HTTPS) => Ok(stream),
                    Some(tls) => tls.encrypt(place.host(), stream).await,
                    None => Err(invalid("this client encrypts nothing")),
                }
            };
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

/// A server that has a URL of its own, such as `http://hub:7700` or `https://hub.example`. Its name is looked up for each
/// connection, because a server that is restarted elsewhere keeps its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: String,
    authorities: Authorities,
}

impl Origin {
    /// Reads a URL. `port` is that of `http` where none is named; that of `https` is 443 then. `?ca=FILE` behind an `https`
    /// one names the PEM file with the authorities that vouch for it; by default they are those of this machine.
    ///
    /// # Errors
    /// What is wrong with the URL, in words; never a part of it.
    pub fn parse(url: &str, port: u16) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
        let scheme = uri.scheme().cloned();
        let port = match scheme.as_ref().map(Scheme::as_str) {
            Some("http") => port,
            Some("https") => 443,
            _ => return Err("its scheme is neither http nor https"),
        };
        let scheme = scheme.unwrap_or(Scheme::HTTP);
        if !matches!(uri.path(), "" | "/") {
            return Err("a path has no meaning there");
        }
        let authorities = match uri.query().map(|query| query.split_once('=')) {
            None => Authorities::System,
            Some(Some(("ca", file))) if scheme == Scheme::HTTPS && !file.contains('&') => {
                let file = percent_decode_str(file).decode_utf8();
                let file = file.map_err(|_| "its file of authorities is not UTF-8")?;
                Authorities::File(PathBuf::from(&*file))
            }
            Some(_) => return Err("only `?ca=FILE` has a meaning there, behind https"),
        };
        let host = uri.host().ok_or("it names no host")?;
        Ok(Self {
            scheme,
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(port)),
            authorities,
        })
    }

    /// The same, where these must vouch for its certificate.
    #[must_use]
    pub fn trusting(self, authorities: Authorities) -> Self {
        Self {
            authorities,
            ..self
        }
    }

    /// Its host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// A client for it, with no connections yet. Authorities are read now.
    ///
    /// # Errors
    /// Why connections to it cannot be encrypted, in words.
    pub fn client(&self) -> Result<HttpClient, String> {
        if self.scheme == Scheme::HTTP {
            return Ok(http_client());
        }
        let tls = Tls::new(&self.authorities).map_err(|error| chain(&error))?;
        Ok(https_client(tls))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
