//! Services to call, on free ports of this machine.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::Path, routing::get};
use outrigger_discovery::{Client, Clients, Error, Instance, Settings, StaticList};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

pub(crate) const SERVICE: &str = "user-service";

/// Serves `routes` on a free port.
pub(crate) async fn serve(routes: Router) -> SocketAddr {
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, routes.clone()));
        }
    });
    address
}

/// Answers what comes through one connection.
pub(crate) async fn answer(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    routes: Router,
) {
    let service = hyper_util::service::TowerToHyperService::new(routes);
    let executor = hyper_util::rt::TokioExecutor::new();
    let http = hyper_util::server::conn::auto::Builder::new(executor);
    let stream = hyper_util::rt::TokioIo::new(stream);
    let _ = http.serve_connection(stream, service).await;
}

/// What can be taken away, with every connection to it.
pub(crate) struct Server(tokio::task::JoinHandle<()>);

impl Server {
    pub(crate) async fn of(at: SocketAddr, routes: Router) -> Self {
        let mut listener = env::net::listen(at).await.expect("the port is free");
        Self(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, routes.clone()));
            }
        }))
    }

    pub(crate) async fn kill(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// A port on which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    listener.local_addr().expect("bound")
}

/// Takes requests, which are counted, and hangs up instead of answering.
pub(crate) async fn hangs_up(asked: &Arc<AtomicUsize>) -> SocketAddr {
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::clone(asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    address
}

/// Answers with the id that was asked for.
pub(crate) fn echo() -> Router {
    let id = |Path(id): Path<String>| async move { Json(json!({ "id": id })) };
    Router::new().route("/users/{id}", get(id).post(id).delete(id))
}

pub(crate) fn instances(addresses: &[SocketAddr]) -> impl Iterator<Item = Instance> {
    addresses
        .iter()
        .map(|address| Instance::new(SERVICE, *address))
}

pub(crate) fn clients(addresses: &[SocketAddr]) -> Clients {
    Clients::new(Arc::new(StaticList::new(instances(addresses))), None)
}

pub(crate) fn client(addresses: &[SocketAddr]) -> Client {
    clients(addresses).client(SERVICE)
}

pub(crate) fn client_with(addresses: &[SocketAddr], settings: Settings) -> Client {
    let registry = Arc::new(StaticList::new(instances(addresses)));
    Clients::with_settings(registry, None, settings).client(SERVICE)
}

pub(crate) async fn user(client: &Client) -> Result<Option<Value>, Error> {
    client.get::<Value>("/users/{id}", &[&"ada"]).await
}

/// Waits until `done`, but not for ever.
pub(crate) async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let waited = env::timeout(Duration::from_secs(10), async {
        while !done().await {
            env::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it comes to pass");
}
