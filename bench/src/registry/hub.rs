//! The hub, in a process of its own, and its clients.

use std::{env::current_exe, net::Ipv4Addr, process::Stdio};

use discovery::{Hub, Registry};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

use super::{
    load::Seen,
    side::{Place, Side, change_of, name},
};
use crate::Result;

/// The process, until dropped, and a client of it.
pub struct OurHub {
    process: Child,
    url: String,
    client: Hub,
    _folder: TempDir,
}

impl OurHub {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let state = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
        let mut process = Command::new(current_exe()?)
            .args(["registry-hub", &state])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = process.stdout.take().ok_or("the hub has no output")?;
        let url = BufReader::new(said).lines().next_line().await?;
        let url = url.ok_or("the hub did not start")?;
        Ok(Self {
            process,
            client: Hub::new(&url, None)?,
            url,
            _folder: folder,
        })
    }
}

/// What its process does: prints where it is, and serves.
pub async fn serve(state: &str) -> Result<()> {
    let hub = hub::Hub::open(state, hub::Options::default()).await?;
    let mut listener = env::net::listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
    println!("http://{}", listener.local_addr()?);
    let running = hub.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    let service = TowerToHyperService::new(hub.routes());
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            // Whoever goes away goes away.
            _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Side for OurHub {
    async fn put(&self, place: Place, change: u64) -> Result<()> {
        Ok(self.client.register(place.instance(change)).await?)
    }

    async fn heartbeat(&self, place: Place) -> Result<()> {
        match self.client.heartbeat(&place.instance(0).id).await? {
            true => Ok(()),
            false => Err("the hub has forgotten an instance".into()),
        }
    }

    async fn watch(&self, service: usize, mut seen: Seen) -> Result<()> {
        let client = Hub::new(&self.url, None)?;
        let mut watched = client.watch(&name(service));
        let first = Place { service, number: 0 }.instance(0).id;
        while watched.changed().await.is_ok() {
            let instances = watched.borrow_and_update().clone();
            let known = instances.iter().find(|instance| instance.id == first);
            seen.state(known.map_or(0, |instance| change_of(instance)));
        }
        Ok(())
    }

    fn process(&self) -> Result<u32> {
        Ok(self.process.id().ok_or("the hub has ended")?)
    }
}
