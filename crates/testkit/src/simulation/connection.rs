//! One end of a simulated connection, whose bytes are in the trace, and which breaks in the middle of the body of a
//! message when it is told to.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use super::{network::Network, trace::Trace};

pub(super) struct Connection {
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    trace: Trace,
    network: Network,
    /// It was cut in the middle of what it sent.
    is_broken: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, trace: Trace, network: Network) -> io::Result<Self> {
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self {
            stream,
            local,
            peer,
            trace,
            network,
            is_broken: false,
        })
    }

    fn reset(&self) -> io::Error {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        self.trace.broken(self.local, self.peer, &error);
        error
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.network.is_dead(self.local.ip()) {
            return Poll::Pending; // for ever: its task is about to be dropped
        }
        if self.is_broken {
            return Poll::Ready(Err(self.reset()));
        }
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        match &read {
            Ok(()) => self
                .trace
                .received(self.peer, self.local, &buf.filled()[before..]),
            Err(error) => self.trace.broken(self.peer, self.local, error),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.network.survives(self.local.ip()) {
            return Poll::Pending;
        }
        if self.is_broken {
            return Poll::Ready(Err(self.reset()));
        }
        let cut = self.network.cut(self.local.ip(), self.peer.ip(), bytes);
        self.is_broken = cut.is_some();
        if self.is_broken {
            self.trace.seen().reach("message cut");
        }
        let length = cut.unwrap_or(bytes.len());
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..length]));
        match &written {
            Ok(count) => self.trace.sent(self.local, self.peer, &bytes[..*count]),
            Err(error) => self.trace.broken(self.local, self.peer, error),
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.network.is_dead(self.local.ip()) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
