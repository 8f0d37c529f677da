//! What is done about a violated invariant of a running system: it is logged, shown in the figures, and told to a webhook.

use std::convert::Infallible;

use telemetry::Metrics;

use super::{Alert, Watch, webhook::Webhook};
use crate::{Settings, System};

/// Watches over `system`, as its settings say, for ever; what is violated is a gauge of `metrics`, where there are any.
///
/// It is run once in a system, by the process that starts the others.
pub async fn guard(system: &System, settings: &Settings, metrics: Option<Metrics>) -> Infallible {
    let every = settings.invariants.every;
    let shown = metrics.filter(|_| !every.is_zero());
    let show = |name: &str, is_violated| {
        if let Some(metrics) = &shown {
            metrics.invariant(name, is_violated);
        }
    };
    for invariant in system.invariants() {
        show(invariant.name(), false);
    }
    let (webhook, delivering) = Webhook::of(system.name(), &settings.invariants).unzip();
    let tell = |alert: &Alert| {
        alert.log();
        show(&alert.invariant, alert.found.is_some());
        if let Some(webhook) = &webhook {
            webhook.tell(alert);
        }
    };
    let delivering = async {
        match delivering {
            Some(delivering) => delivering.await,
            None => std::future::pending().await,
        }
    };
    let watching = Watch::of(system).run(system, settings, every, tell);
    tokio::select! {
        never = watching => never,
        never = delivering => never,
    }
}
