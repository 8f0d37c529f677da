//! What the whole client stack adds to a call over loopback.
//!
//! Both sides use the same HTTP client, and ask the same server for the same. Ours finds the instance by discovery, asks
//! two breakers and the budget of retries, keeps a deadline, shows a token, and carries the correlation id; the peer takes
//! one address after the other. Nobody listens to spans.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use discovery::{Clients, HttpClient, Instance, StaticList, Upstream, http_client};
use env::RequestContext;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use identity::{CALL, Issuer, Keyring};
use tokio::task::JoinSet;

use crate::{Result, report::Case, rounds::median};

type Body = axum_core::body::Body;

const SERVICE: &str = "user-service";
const PATH: &str = "/users/ada";
const INSTANCES: usize = 3;
/// So many calls are under way at the same time, when not one alone is.
const MANY: usize = 64;
const PEER: &str = "hyper-util client, bare";
const SETTINGS: &str = "HTTP/1.1 over loopback, 3 instances, server in the same process";

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let (rounds, time) = match quick {
        true => (1, Duration::from_millis(500)),
        false => (7, Duration::from_secs(1)),
    };
    let mut addresses = Vec::new();
    for _ in 0..INSTANCES {
        addresses.push(serve().await?);
    }
    let ours = Arc::new(Ours::new(&addresses));
    let bare = Arc::new(Bare {
        http: http_client(),
        addresses,
        turn: AtomicUsize::new(0),
    });
    let mut cases = Vec::new();
    for callers in [1, MANY] {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        rate(callers, time / 2, &bare).await?;
        rate(callers, time / 2, &ours).await?;
        for _ in 0..rounds {
            without.push(rate(callers, time, &bare).await?);
            with.push(rate(callers, time, &ours).await?);
        }
        let (with, without) = (median(with), median(without));
        let name = format!("whole client stack, {callers} call(s) under way");
        cases.push(Case::rate(&name, with, PEER, without, SETTINGS));
        if callers == 1 {
            let nanos = |rate: f64| 1e9 / rate;
            let added = nanos(with) - nanos(without);
            let name = "whole client stack: added to a call that takes";
            cases.push(Case::cost(
                name,
                "ns",
                added,
                PEER,
                nanos(without),
                SETTINGS,
            ));
        }
    }
    Ok(cases)
}

/// Makes a call, and reads its answer.
trait Caller: Send + Sync + 'static {
    fn call(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Calls a second of so many tasks, each of which makes one after the other.
async fn rate(tasks: usize, time: Duration, caller: &Arc<impl Caller>) -> Result<f64> {
    let begun = env::instant();
    let mut calling = JoinSet::new();
    for _ in 0..tasks {
        let caller = Arc::clone(caller);
        calling.spawn(async move {
            let mut made = 0_u32;
            while begun.elapsed() < time {
                caller.call().await?;
                made += 1;
            }
            Ok::<_, crate::Error>(made)
        });
    }
    let mut made = 0.0;
    while let Some(ended) = calling.join_next().await {
        made += f64::from(ended??);
    }
    Ok(made / begun.elapsed().as_secs_f64())
}

/// Calls by the whole stack.
struct Ours {
    upstream: Upstream,
    context: RequestContext,
}

impl Ours {
    fn new(addresses: &[SocketAddr]) -> Self {
        let instances = addresses.iter().map(|at| Instance::new(SERVICE, *at));
        let grants = [(SERVICE.to_owned(), vec![CALL.to_owned()])];
        let issuer = Issuer::new(Keyring::generate(), "order-service", grants.into());
        let clients = Clients::new(Arc::new(StaticList::new(instances)), Some(issuer));
        Self {
            upstream: clients.upstream(SERVICE),
            context: RequestContext::new(),
        }
    }
}

impl Caller for Ours {
    async fn call(&self) -> Result<()> {
        let request = Request::get(PATH).body(Body::empty())?;
        let sent = self.context.clone().scope(self.upstream.send(request));
        let answer = sent.await?;
        answer.into_body().collect().await?;
        Ok(())
    }
}

/// Calls without any of it.
struct Bare {
    http: HttpClient,
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Caller for Bare {
    async fn call(&self) -> Result<()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = self.addresses[turn % self.addresses.len()];
        let request = Request::get(format!("http://{address}{PATH}")).body(Body::empty())?;
        let answer = self.http.request(request).await?;
        answer.into_body().collect().await?;
        Ok(())
    }
}

/// An instance: answers everything with the same.
async fn serve() -> Result<SocketAddr> {
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|_| async {
                let body = Full::new(Bytes::from_static(br#"{"id":"ada","name":"Ada"}"#));
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}
