//! The door to the gateways: what a load balancer does that looks now and then which of them is ready.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use outrigger::{GatewayClient, env};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub(crate) struct Door(Arc<Gateways>);

struct Gateways {
    each: Vec<(GatewayClient, AtomicBool)>,
    next: AtomicUsize,
}

impl Door {
    /// The door to the gateways at `addresses`, at which it goes on looking.
    pub(crate) fn of(addresses: Vec<SocketAddr>) -> Self {
        let each = addresses.into_iter();
        let each = each.map(|address| (GatewayClient::new(address), AtomicBool::new(true)));
        let door = Self(Arc::new(Gateways {
            each: each.collect(),
            next: AtomicUsize::new(0),
        }));
        for index in 0..door.0.each.len() {
            let gateways = Arc::clone(&door.0);
            tokio::spawn(async move {
                let (gateway, ready) = &gateways.each[index];
                loop {
                    let answer = gateway.get("/ready").await;
                    let is_ready = answer.is_ok_and(|answer| answer.status.is_success());
                    ready.store(is_ready, Ordering::Relaxed);
                    env::sleep(LOOK).await;
                }
            });
        }
        door
    }

    /// The next gateway that is ready.
    pub(crate) fn gateway(&self) -> &GatewayClient {
        let gateways = &self.0;
        let turn = gateways.next.fetch_add(1, Ordering::Relaxed);
        let all = gateways.each.len();
        let in_turn = (0..all).map(|step| &gateways.each[(turn + step) % all]);
        let ready = in_turn
            .clone()
            .find(|(_, ready)| ready.load(Ordering::Relaxed));
        let (gateway, _) = ready.unwrap_or(&gateways.each[turn % all]);
        gateway
    }
}
