//! The peer: a Restate server and a process of Node with the same saga (`peers/restate`), started privately.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Result, processes};

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// The program itself: the one in `.bin` starts it and would leave it behind.
const SERVER: &str = if cfg!(target_arch = "aarch64") {
    "node_modules/@restatedev/restate-server-linux-arm64/bin/restate-server"
} else {
    "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"
};

/// Who takes the steps of the saga.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Steps {
    /// Other services, which are called.
    Called,
    /// The handler of the saga itself, by `ctx.run`.
    OnTheSpot,
}

/// Both processes, until dropped.
pub struct Restate {
    steps: Steps,
    http: Client<HttpConnector, Full<Bytes>>,
    ingress: SocketAddr,
    processes: [Child; 2],
    _folder: TempDir,
}

impl Restate {
    pub async fn start(steps: Steps) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [ingress, admin, node, handlers] = free_addresses().await?;
        let port = |address: SocketAddr| address.port().to_string();
        let server = Command::new(installed(SERVER))
            .arg("--base-dir")
            .arg(folder.path())
            .args([
                "--listen-mode",
                "tcp",
                "--bind-ip",
                "127.0.0.1",
                "--no-logo",
            ])
            .args(["--bind-port", &port(node)])
            .env("RESTATE_INGRESS__BIND_PORT", port(ingress))
            .env("RESTATE_ADMIN__BIND_PORT", port(admin))
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("RESTATE_LOG_FILTER", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start Restate; see bench/run: {error}"))?;
        let services = Command::new("node")
            .arg(installed("server.mjs"))
            .arg(port(handlers))
            // It would tell of every saga.
            .env("RESTATE_LOGGING", "ERROR")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start node: {error}"))?;
        let restate = Self {
            steps,
            http: Client::builder(TokioExecutor::new()).build_http(),
            ingress,
            processes: [server, services],
            _folder: folder,
        };
        let register = json!({ "uri": format!("http://{handlers}") });
        let ready = async {
            let url = format!("http://{admin}/deployments");
            while restate.post(&url, &register).await.is_err() || restate.place(1).await.is_err() {
                env::sleep(Duration::from_millis(100)).await;
            }
        };
        env::timeout(START, ready)
            .await
            .map_err(|_| "Restate does not answer")?;
        Ok(restate)
    }

    /// Has a saga run to its end.
    pub async fn place(&self, number: usize) -> Result<()> {
        let handler = match self.steps {
            Steps::Called => "place",
            Steps::OnTheSpot => "placeHere",
        };
        let url = format!("http://{}/orders/{handler}", self.ingress);
        let declined = number.is_multiple_of(10);
        let order = json!({ "id": number.to_string(), "declined": declined });
        let ended = self.post(&url, &order).await?;
        match ended.as_str() {
            Some("completed") if !declined => Ok(()),
            Some("compensated") if declined => Ok(()),
            _ => Err(format!("the order {number} ended so: {ended}").into()),
        }
    }

    async fn post(&self, url: &str, body: &Value) -> Result<Value> {
        let request = Request::post(url)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = self.http.request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            Ok(serde_json::from_slice(&body)?)
        } else {
            Err(format!(
                "POST {url} got {status}: {}",
                String::from_utf8_lossy(&body)
            )
            .into())
        }
    }

    /// What both have used of the processors.
    pub fn cpu(&self) -> Result<Duration> {
        let ids = self.processes.iter().filter_map(Child::id);
        ids.map(processes::cpu_of).sum()
    }
}

fn installed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers/restate")
        .join(file)
}

/// Addresses that nobody listens on now, all different.
async fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut listeners = Vec::new();
    for _ in 0..N {
        listeners.push(env::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?);
    }
    let addresses: std::io::Result<Vec<_>> = listeners.iter().map(|it| it.local_addr()).collect();
    let addresses = <[SocketAddr; N]>::try_from(addresses?);
    Ok(addresses.map_err(|_| "too few addresses")?)
}
