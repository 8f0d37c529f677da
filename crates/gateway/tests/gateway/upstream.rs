//! Services and gateways on real sockets.

use std::net::SocketAddr;

use axum::Router;
use axum_core::body::Body;
use discovery::{Clients, Instance, StaticList};
use http::Request;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use outrigger_gateway::{ClientAddress, Config, Gateway};
use telemetry::Metrics;
use tower::ServiceExt;

/// A socket of the seam, listening on loopback.
pub(crate) async fn listen() -> (env::net::Listener, SocketAddr) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = env::net::listen(any).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Serves `app` for as long as the runtime of the test runs.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let (mut listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let app = app.clone().map_request(move |mut request: Request<_>| {
                request.extensions_mut().insert(ClientAddress(peer));
                request
            });
            let app = TowerToHyperService::new(app);
            tokio::spawn(async move {
                let http = Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), app).await;
            });
        }
    });
    address
}

/// A gateway of `config` to the services that are at these addresses.
pub(crate) fn gateway_to(config: &str, services: &[(&str, SocketAddr)]) -> Gateway {
    let instances = services
        .iter()
        .map(|(name, address)| Instance::new(name, *address));
    let clients = Clients::new(std::sync::Arc::new(StaticList::new(instances)), None);
    gateway_with(config, &clients)
}

pub(crate) fn gateway_with(config: &str, clients: &Clients) -> Gateway {
    let config: Config = config.parse().expect("valid");
    Gateway::new(config, clients, Metrics::new("gateway")).expect("valid")
}

/// A gateway as an application of axum, to be served.
pub(crate) fn app(gateway: Gateway) -> Router {
    Router::new().fallback_service(gateway.map_request(|request: Request<Body>| request))
}
