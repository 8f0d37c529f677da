//! How soon 1,000 watchers hear of a change among 10,000 instances, and what the server needs for that: the hub, beside a
//! bucket of NATS that is watched by prefixes.
//!
//! Servers are processes of their own; all watchers are in this one, and each has a connection of its own. A change is seen
//! when the watcher has it as a value, decoded. Meanwhile every instance says that it lives, every 30 seconds. On NATS that
//! is to write the value again, as our own registry in NATS does, and who watches hears of it.

mod hub;
mod kv;
mod load;
mod side;

use self::{
    hub::OurHub,
    kv::Bucket,
    load::{Load, Measured},
};
use crate::{Result, report::Case};

pub use self::hub::serve;

const PEER: &str = "NATS, a key-value bucket";
const SETTINGS: &str =
    "hub: SQLite, synchronous=FULL, before it acknowledges; NATS: file storage, its default sync";

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let load = if quick { Load::SMALL } else { Load::WHOLE };
    let ours = load::measure(OurHub::start().await?, load).await?;
    let peer = load::measure(Bucket::start().await?, load).await?;
    let Load {
        services,
        instances,
        watchers,
        ..
    } = load;
    let of = format!("{instances} instances of {services} services, {watchers} watchers");
    let case = |what: &str, unit, figure: fn(&Measured) -> f64| {
        let name = format!("{of}: {what}");
        Case::cost(&name, unit, figure(&ours), PEER, figure(&peer), SETTINGS)
    };
    Ok(vec![
        case("change to seen, p50", "ms", |it| it.p50),
        case("change to seen, p99", "ms", |it| it.p99),
        case(
            "all of a service change, until the last is seen by all",
            "ms",
            |it| it.all_change,
        ),
        case("CPU of the server", "% of a core", |it| it.cpu),
        case("memory of the server, peak", "MiB", |it| it.memory),
    ])
}
