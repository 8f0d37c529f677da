//! The shop, as a process of its own.

use std::{fs, net::SocketAddr, process::Stdio, time::Duration};

use outrigger::{
    GatewayClient,
    env::{self, BoxError},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// More than is ever ordered.
const STOCK: u64 = 1_000_000;
/// How long it may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Shop {
    process: Child,
    gateway: SocketAddr,
    order_service: SocketAddr,
    _folder: TempDir,
}

impl Shop {
    /// Starts it, with somebody who orders and something to order.
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let mut process = Command::new(std::env::current_exe()?)
            .args([
                "up",
                "--no-demo",
                "--output",
                "json",
                "--gateway",
                "127.0.0.1:0",
            ])
            .arg("--data")
            .arg(folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = process.stdout.take().ok_or("its output")?;
        let mut lines = BufReader::new(said).lines();
        let line = env::timeout(PATIENCE, lines.next_line()).await??;
        let ready: Value = serde_json::from_str(&line.ok_or("it did not start")?)?;
        let address = |url: &Value| -> Result<SocketAddr, BoxError> {
            let url = url.as_str().ok_or("no address")?;
            Ok(url.trim_start_matches("http://").parse()?)
        };
        let shop = Self {
            process,
            gateway: address(&ready["gateway"])?,
            order_service: address(&ready["services"]["order-service"])?,
            _folder: folder,
        };
        let client = shop.customer();
        for (path, body) in [
            (
                "/users",
                json!({ "id": "ada", "name": "Ada", "email": "ada@example.com" }),
            ),
            (
                "/products",
                json!({ "id": "ink", "name": "Ink", "price": 1.5, "stock": STOCK }),
            ),
        ] {
            let answer = client.post(path, &body).await?;
            if !answer.status.is_success() {
                return Err(format!("POST {path} got {}", answer.status).into());
            }
        }
        Ok(shop)
    }

    pub(crate) fn customer(&self) -> GatewayClient {
        GatewayClient::new(self.gateway)
    }

    /// The most that was resident at any time, in MiB.
    pub(crate) fn peak_memory_mib(&self) -> Result<u64, BoxError> {
        let id = self.process.id().ok_or("it has ended")?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        Ok(kib.ok_or("no VmHWM")?.trim().parse::<u64>()? / 1024)
    }

    /// How many requests `order-service` made for each call to others, retries and second requests included.
    pub(crate) async fn amplification(&self) -> Result<f64, BoxError> {
        let figures = GatewayClient::new(self.order_service)
            .get("/metrics")
            .await?;
        let figures = figures.body.as_str().ok_or("no figures")?.to_owned();
        let sum = |name: &str, label: &str| -> f64 {
            let series = figures
                .lines()
                .filter(|line| line.starts_with(name) && line.contains(label));
            let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            values.sum()
        };
        let calls = sum("http_client_request_duration_seconds_count", "");
        let decisions = "outrigger_call_decisions_total";
        let more = sum(decisions, "decision=\"retried\"") + sum(decisions, "decision=\"hedged\"");
        Ok(1.0 + more / calls.max(1.0))
    }

    /// Ends it gracefully.
    pub(crate) async fn stop(&mut self) -> Result<(), BoxError> {
        let id = self.process.id().ok_or("it has ended")?;
        Command::new("kill")
            .arg("-TERM")
            .arg(id.to_string())
            .status()
            .await?;
        env::timeout(PATIENCE, self.process.wait()).await??;
        Ok(())
    }
}
