//! What is done and said when a system is ready.

use std::{fmt::Display, net::SocketAddr, time::Duration};

use outrigger::{GatewayClient, System, env};

use crate::{note, say};

/// How long the demo waits for a service that the gateway does not know yet, and how often it asks.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(20);

/// Makes the demo requests. They carry their own ids: a second start is told that they exist, and that is
/// well.
pub(crate) async fn fill(system: &System, gateway: SocketAddr) {
    let client = GatewayClient::new(gateway);
    let late = env::instant() + PATIENCE;
    for request in system.demo_requests() {
        let answer = loop {
            match client.post(&request.path, &request.body).await {
                // Processes find each other a moment after they are ready.
                Ok(answer) if answer.status.as_u16() == 503 && env::instant() < late => {
                    env::sleep(AGAIN).await;
                }
                answer => break answer,
            }
        };
        match answer {
            Ok(answer) if answer.status.is_success() || answer.status.as_u16() == 409 => {}
            Ok(answer) => note(format!(
                "the demo's POST {} got {}",
                request.path, answer.status
            )),
            Err(error) => note(format!("the demo is incomplete: {error}")),
        }
    }
}

/// The table of what there is and where, a line to try, and that it is ready.
pub(crate) fn show(
    system: &System,
    rows: &[(&str, SocketAddr)],
    gateway: Option<SocketAddr>,
    took: Duration,
) {
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let row = |what: &str, place: &dyn Display| say(format!("{what:width$}  {place}"));
    row("what", &"where");
    for (what, address) in rows {
        row(what, &format_args!("http://{address}"));
    }
    if let (Some(gateway), Some(example)) = (gateway, system.example_request()) {
        say(format!(
            "\nTry it:\n  curl -i http://{gateway}{} --json '{}'\n",
            example.path, example.body
        ));
    }
    say(format!(
        "{} ready in {} ms; Ctrl-C stops it",
        system.name(),
        took.as_millis()
    ));
}
