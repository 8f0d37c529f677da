//! Kills the whole shop with SIGKILL in the middle of many orders, again and again, and looks at what is left.
//!
//! Each round starts the shop on the same data folder, lets customers order, and kills the process at a
//! random moment. At the end it is started once more and must come to rest: every order confirmed or
//! cancelled, every invariant whole. `scripts/crash-test` builds what this needs and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use outrigger::{
    GatewayClient, Inspection,
    env::{self, BoxError},
};
use serde_json::{Value, json};

/// Customers that order at the same time.
const CUSTOMERS: u64 = 16;
/// The longest that a round lasts before the kill, in milliseconds.
const ROUND_MS_MAX: u64 = 1_500;
/// More than the customers can ever buy.
const STOCK: u64 = 1_000_000;
const PRODUCTS: [&str; 3] = ["pencil", "paper", "ink"];
/// How long the shop may take to come to rest at the end.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, BoxError> {
    let arguments = Arguments::parse()?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut placed = 0;
    for round in 1..=arguments.rounds {
        let mut shop = Shop::start(&arguments.shop, &data)?;
        let client = GatewayClient::new(shop.gateway);
        if round == 1 {
            stock_up(&client).await?;
        }
        let customers = tokio::spawn(order_until_the_end(client, round));
        env::sleep(Duration::from_millis(
            100 + env::random().below(ROUND_MS_MAX),
        ))
        .await;
        shop.kill()?;
        placed += customers.await?;
        eprintln!(
            "round {round} of {}: {placed} orders asked for so far",
            arguments.rounds
        );
    }
    let mut shop = Shop::start(&arguments.shop, &data)?;
    let unrest = come_to_rest(&data).await?;
    let counts = statuses(&data).await?;
    let violations = violations(&data).await?;
    shop.kill()?;

    let open = counts
        .iter()
        .filter(|(status, _)| !matches!(status.as_str(), "CONFIRMED" | "CANCELLED"));
    let open: i64 = open.map(|(_, count)| count).sum();
    let whole = unrest.is_empty() && violations.is_empty() && open == 0;
    println!(
        "{}",
        json!({
            "rounds": arguments.rounds,
            "asked": placed,
            "orders": counts,
            "open": open,
            "unrest": unrest,
            "violations": violations,
        })
    );
    Ok(whole)
}

struct Arguments {
    shop: PathBuf,
    rounds: u64,
}

impl Arguments {
    fn parse() -> Result<Self, BoxError> {
        let mut parsed = Self {
            shop: PathBuf::from("target/release/shop"),
            rounds: 20,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match (word.as_str(), words.next()) {
                ("--shop", Some(path)) => parsed.shop = path.into(),
                ("--rounds", Some(count)) => parsed.rounds = count.parse()?,
                _ => return Err("usage: crash-test [--shop FILE] [--rounds N]".into()),
            }
        }
        Ok(parsed)
    }
}

struct Shop {
    process: Child,
    gateway: SocketAddr,
}

impl Shop {
    /// Starts the shop and waits until it says that it is ready.
    fn start(binary: &Path, data: &Path) -> Result<Self, BoxError> {
        let mut process = Command::new(binary)
            .args([
                "up",
                "--gateway",
                "127.0.0.1:0",
                "--output",
                "json",
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        let screen = process
            .stdout
            .take()
            .ok_or("the shop has no standard output")?;
        let mut line = String::new();
        BufReader::new(screen).read_line(&mut line)?;
        let ready: Value =
            serde_json::from_str(&line).map_err(|_| "the shop did not become ready")?;
        let gateway = ready["gateway"].as_str().ok_or("the shop has no gateway")?;
        Ok(Self {
            gateway: gateway.trim_start_matches("http://").parse()?,
            process,
        })
    }

    fn kill(&mut self) -> Result<(), BoxError> {
        // On Unix this is SIGKILL.
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

async fn stock_up(client: &GatewayClient) -> Result<(), BoxError> {
    for product in PRODUCTS {
        let body = json!({ "id": product, "name": product, "price": 1.5, "stock": STOCK });
        let answer = client.post("/products", &body).await?;
        if !answer.status.is_success() {
            return Err(format!("POST /products got {}: {}", answer.status, answer.body).into());
        }
    }
    Ok(())
}

/// Orders, as fast as the shop answers, until it is gone; gives the number of orders asked for.
async fn order_until_the_end(client: GatewayClient, round: u64) -> u64 {
    let customers = (0..CUSTOMERS).map(|customer| {
        let client = client.clone();
        async move {
            let mut asked = 0;
            loop {
                asked += 1;
                let order = an_order(round, customer, asked);
                if client.post("/orders", &order).await.is_err() {
                    return asked;
                }
            }
        }
    });
    futures_sum(customers).await
}

async fn futures_sum(
    counts: impl Iterator<Item = impl Future<Output = u64> + Send + 'static>,
) -> u64 {
    let mut tasks = tokio::task::JoinSet::new();
    counts.for_each(|count| {
        tasks.spawn(count);
    });
    tasks.join_all().await.iter().sum()
}

/// Mostly good orders; some whose payment is declined, or takes a second attempt.
fn an_order(round: u64, customer: u64, asked: u64) -> Value {
    let product = PRODUCTS[(asked % 3) as usize];
    let payment = match (round + customer + asked) % 7 {
        0 => "tok_declined",
        1 => "tok_flaky",
        _ => "tok_ok",
    };
    let quantity = if asked.is_multiple_of(11) {
        900
    } else {
        1 + customer % 3
    };
    let user = if customer.is_multiple_of(2) {
        "ada"
    } else {
        "grace"
    };
    json!({
        "userId": user,
        "items": [{ "productId": product, "quantity": quantity }],
        "paymentMethod": payment,
    })
}

async fn come_to_rest(data: &Path) -> Result<Vec<String>, BoxError> {
    let deadline = env::instant() + PATIENCE;
    loop {
        let unrest = look(data).await?.unrest().await?;
        if unrest.is_empty() || env::instant() > deadline {
            return Ok(unrest);
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn statuses(data: &Path) -> Result<BTreeMap<String, i64>, BoxError> {
    let sql = "SELECT status, count(*) AS count FROM orders GROUP BY status";
    let rows = look(data).await?.query("order-service", sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.get("status")?, row.get("count")?)))
        .collect()
}

async fn violations(data: &Path) -> Result<Vec<String>, BoxError> {
    let view = look(data).await?;
    let mut found = Vec::new();
    for invariant in shop::system().invariants() {
        if let Err(reason) = invariant.check(view.clone()).await {
            found.push(format!("{}: {reason}", invariant.name()));
        }
    }
    Ok(found)
}

async fn look(data: &Path) -> Result<Inspection, BoxError> {
    Ok(Inspection::open(&shop::system(), data).await?)
}
