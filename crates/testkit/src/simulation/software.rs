//! What the other machines run: a service each, the gateway, and the users.

use std::{
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use env::RequestContext;
use outrigger::GatewayClient;

use super::{
    GATEWAY,
    run::{Run, Users},
    stage::Ended,
};

/// Every machine has an address of its own, so all listen on one port.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);
/// How soon what could not start is started again.
const START_AGAIN: Duration = Duration::from_millis(500);

/// One service, until it is crashed.
pub(super) async fn service(run: Rc<Run>, name: Rc<str>) -> Ended {
    let Some(platform) = run.platform(&name).await else {
        return Ok(());
    };
    let start = async || run.system.start_service(&name, &platform, LISTEN).await;
    let _running = insist(&run, &name, start).await;
    run.started(&name);
    std::future::pending().await
}

/// The gateway.
pub(super) async fn gateway(run: Rc<Run>) -> Ended {
    let Some(platform) = run.platform(GATEWAY).await else {
        return Ok(());
    };
    let start = async || run.system.start_gateway(&platform, LISTEN).await;
    let running = insist(&run, GATEWAY, start).await;
    run.gateway.set(Some(running.address()));
    std::future::pending().await
}

/// Starts `machine`, again and again until it has started.
async fn insist<T>(
    run: &Run,
    machine: &str,
    start: impl AsyncFn() -> Result<T, outrigger::Error>,
) -> T {
    loop {
        match start().await {
            Ok(running) => return running,
            Err(error) => run.failed(machine, &error),
        }
        env::sleep(START_AGAIN).await;
    }
}

/// The users, until the last one is done.
pub(super) async fn users(run: Rc<Run>) -> Ended {
    let client = GatewayClient::new(run.all_started().await);
    run.users.set(Users::Busy);
    let script = (run.script)(client);
    RequestContext::new().scope(script).await;
    run.users.set(Users::Done);
    Ok(())
}
