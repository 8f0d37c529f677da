//! A world that was entered answers everything that the code under it asks.

use std::{io, net::IpAddr, rc::Rc};

use env::{
    Timestamp,
    net::{DynIo, DynListener},
    world::World,
};
use futures::future::BoxFuture;
use outrigger_env as env;

struct Still;

impl World for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn listen(&self, _: std::net::SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(async { Err(io::ErrorKind::AddrInUse.into()) })
    }
    fn connect(&self, _: std::net::SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
    fn local_address(&self) -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }
}

#[tokio::test]
async fn an_entered_world_answers_until_it_is_left() {
    let entered = env::world::enter(Rc::new(Still));
    assert_eq!(env::now(), Timestamp::UNIX_EPOCH);
    assert_eq!(env::id(), env::id());
    assert_eq!(env::net::local_address(), IpAddr::from([10, 0, 0, 1]));
    let refused = env::net::connect(([10, 0, 0, 2], 80).into())
        .await
        .err()
        .expect("refused");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let unknown = env::net::resolve("localhost:80").await.err();
    let unknown = unknown.expect("it has no names").kind();
    assert_eq!(unknown, io::ErrorKind::NotFound);

    drop(entered);
    assert!(env::now() > Timestamp::UNIX_EPOCH);
    assert_ne!(env::id(), env::id());
}

#[tokio::test]
async fn bytes_cross_a_real_socket() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (client, server) = tokio::join!(env::net::connect(address), listener.accept());
    let (mut client, (mut server, _)) = (client.expect("connected"), server.expect("accepted"));
    client.write_all(b"order").await.expect("written");
    let mut read = [0; 5];
    server.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"order");
}
