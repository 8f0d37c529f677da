//! Listening and connecting: TCP, or the simulated network.
//!
//! [`Stream`] is an enum, so production pays for no indirection: the simulated side is boxed, the TCP
//! side is `tokio`'s own type.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use crate::world;

/// Starts listening on `address`; port 0 lets the system choose one.
///
/// # Errors
/// What the system says: the address is taken, not this machine's, or not permitted.
#[expect(clippy::disallowed_methods, reason = "this is the seam")]
pub async fn listen(address: SocketAddr) -> io::Result<Listener> {
    let simulated = world::current().map(|world| world.listen(address));
    match simulated {
        Some(listener) => Ok(Listener(Listening::Simulated(listener.await?))),
        None => Ok(Listener(Listening::Tcp(TcpListener::bind(address).await?))),
    }
}

/// Connects to `address`, without Nagle's delay.
///
/// # Errors
/// What the system says: refused, unreachable, timed out.
#[expect(clippy::disallowed_methods, reason = "this is the seam")]
pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let simulated = world::current().map(|world| world.connect(address));
    match simulated {
        Some(stream) => Ok(Stream::Simulated(stream.await?)),
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
    }
}

/// Looks `host:port` up; a literal address is its own answer, which is all that a simulation needs.
///
/// # Errors
/// What the system's resolver says: no such host, or no answer.
pub async fn resolve(host_and_port: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = host_and_port.parse() {
        return Ok(address);
    }
    let mut found = tokio::net::lookup_host(host_and_port).await?;
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The address at which others reach this machine: loopback, or the simulated machine's own.
pub fn local_address() -> IpAddr {
    world::current().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |world| {
        world.local_address()
    })
}

/// A listening socket.
pub struct Listener(Listening);

enum Listening {
    Tcp(TcpListener),
    Simulated(DynListener),
}

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// What the system says; most are of one connection only, and accepting may go on.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match &mut self.0 {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer))
            }
            Listening::Simulated(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Simulated(stream), peer))
            }
        }
    }

    /// The address that is listened on, with the port that the system chose.
    ///
    /// # Errors
    /// What the system says of a socket that is no more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Listening::Tcp(listener) => listener.local_addr(),
            Listening::Simulated(listener) => listener.local_addr(),
        }
    }
}

/// A listening socket of a simulated machine.
pub type DynListener = Box<dyn SimulatedListener>;

/// What a simulation implements to accept connections.
pub trait SimulatedListener: Send {
    /// Waits for the next connection; dropping the future loses none.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(DynIo, SocketAddr)>>;

    /// The address that is listened on.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// One end of a simulated connection.
pub type DynIo = Box<dyn Io>;

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One end of a connection.
pub enum Stream {
    /// A connection of the operating system.
    Tcp(TcpStream),
    /// A connection inside a simulation.
    Simulated(DynIo),
}

impl Stream {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Simulated(io) => Pin::new(io.as_mut()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Simulated(io) => io.is_write_vectored(),
        }
    }
}
