//! Listening and connecting: TCP, or the simulated network.
//!
//! [`Stream`] is an enum, so production pays for no indirection: the simulated side is boxed, the TCP
//! side is `tokio`'s own type.
//!
//! A connection whose other side has vanished, without a word, ends by itself: the system asks after
//! ten seconds of silence, and gives it up after twenty, or when what was sent is not confirmed in
//! that time. (The first only by what the system sets itself, where it is not Linux.)

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::client::TlsStream;

use crate::{pure, world};

/// After how much silence the system asks whether the other side is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// Between two questions that have no answer.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// When the other side counts as gone.
const GONE: Duration = Duration::from_secs(20);

/// How long one address of a name is given before the next one is tried beside it (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

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
    pure::ask("env::net::connect");
    let simulated = world::current().map(|world| world.connect(address));
    match simulated {
        Some(stream) => Ok(Stream::Simulated(stream.await?)),
        None => {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            Ok(Stream::Tcp(stream))
        }
    }
}

/// Connects to the first of the addresses of `host:port` that answers. One that does not answer at
/// once does not hold up the next.
///
/// # Errors
/// As [`resolve_all`] and [`connect`]; of several addresses, what was said of the last.
pub async fn connect_to(host_and_port: &str) -> io::Result<Stream> {
    first_of(resolve_all(host_and_port).await?).await
}

async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<Stream> {
    let mut addresses = addresses.into_iter();
    let mut connecting = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        connecting.extend(addresses.next().map(connect));
        let more = addresses.len() > 0;
        tokio::select! {
            biased;
            outcome = connecting.next() => match outcome {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = crate::sleep(NEXT_ADDRESS), if more => {}
        }
    }
}

/// Looks `host:port` up: its first address, as [`resolve_all`].
///
/// # Errors
/// As [`resolve_all`].
pub async fn resolve(host_and_port: &str) -> io::Result<SocketAddr> {
    let found = resolve_all(host_and_port).await?;
    found
        .first()
        .copied()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Looks `host:port` up: all its addresses, at least one, the one to try first first. A literal
/// address is its own answer, wherever it is asked for.
///
/// # Errors
/// What the system's resolver says: no such host, or no answer.
pub async fn resolve_all(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host_and_port.parse() {
        return Ok(vec![address]);
    }
    let simulated = world::current().map(|world| world.resolve(host_and_port));
    let found: Vec<_> = match simulated {
        Some(found) => found.await?,
        None => tokio::net::lookup_host(host_and_port).await?.collect(),
    };
    if found.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

/// Without Nagle's delay, and given up when the other side is gone.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(SILENCE);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_user_timeout(Some(GONE))?;
        let unanswered = (GONE - SILENCE).as_secs().div_ceil(ASK_AGAIN.as_secs());
        let keepalive = keepalive.with_interval(ASK_AGAIN);
        socket.set_tcp_keepalive(&keepalive.with_retries(unanswered as u32))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    socket.set_tcp_keepalive(&keepalive)
}

/// The address at which others reach this machine: loopback, or the simulated machine's own.
pub fn local_address() -> IpAddr {
    world::current().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |world| {
        world.local_address()
    })
}

/// The address that this machine has on the way to `other`, at which what is there reaches it in turn. Nothing is sent.
///
/// # Errors
/// What the system says: there is no way there.
pub fn local_address_towards(other: SocketAddr) -> io::Result<IpAddr> {
    if let Some(world) = world::current() {
        return Ok(world.local_address());
    }
    let any: IpAddr = match other {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // To connect a datagram socket only chooses the way.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(other)?;
    Ok(socket.local_addr()?.ip())
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
                prepare(&stream)?;
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
    /// A connection of either kind, [encrypted](crate::tls).
    Encrypted(Box<TlsStream<Stream>>),
}

impl Stream {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Simulated(io) => Pin::new(io.as_mut()),
            Self::Encrypted(stream) => Pin::new(stream.as_mut()),
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
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listening() -> (Listener, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen(any).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    #[tokio::test]
    async fn of_several_addresses_the_first_that_answers_is_taken() {
        let (closed, refusing) = listening().await;
        drop(closed);
        // Kept for documentation (RFC 5737): nobody is there.
        let silent = SocketAddr::from(([192, 0, 2, 1], 9));
        let (_listener, answering) = listening().await;

        let Ok(Stream::Tcp(stream)) = first_of(vec![refusing, silent, answering]).await else {
            panic!("not connected");
        };
        assert_eq!(stream.peer_addr().expect("connected"), answering);
        let refused = first_of(vec![refusing])
            .await
            .err()
            .expect("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn both_ends_of_a_connection_give_up_a_side_that_is_gone() {
        let (mut listener, address) = listening().await;
        let (near, far) = tokio::join!(connect(address), listener.accept());
        for stream in [near.expect("connected"), far.expect("accepted").0] {
            let Stream::Tcp(stream) = stream else {
                panic!("simulated");
            };
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().expect("asked"));
            assert_eq!(socket.tcp_keepalive_time().expect("asked"), SILENCE);
            assert_eq!(socket.tcp_user_timeout().expect("asked"), Some(GONE));
        }
    }
}
