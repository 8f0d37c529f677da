//! What is left once nothing happens any more, and whether it is as it was promised.

use std::{collections::BTreeMap, time::Duration};

use outrigger::{
    Inspection,
    env::{self, BoxError},
};
use serde_json::{Value, json};

use crate::customers::Customers;

/// How long the shop may take to come to rest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(crate) struct Verdict {
    unrest: Vec<String>,
    violations: Vec<String>,
    /// The status of each, by id.
    orders: BTreeMap<String, String>,
    asked: u64,
    unanswered: usize,
    promised: usize,
    lost: Vec<String>,
}

impl Verdict {
    /// Waits until the shop is at rest, and looks whether the orders of `customers` are there.
    pub(crate) async fn of(view: Inspection, customers: &Customers) -> Result<Self, BoxError> {
        let (unrest, violations) = come_to_rest(&view).await?;
        let orders = orders(&view).await?;
        let lost = customers.promised().filter(|id| !orders.contains_key(*id));
        Ok(Self {
            unrest,
            violations,
            asked: customers.asked(),
            unanswered: customers.unanswered(),
            promised: customers.promised().count(),
            lost: lost.map(str::to_owned).collect(),
            orders,
        })
    }

    /// Whether every guarantee was kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.unrest.is_empty()
            && self.violations.is_empty()
            && self.lost.is_empty()
            && self.unanswered == 0
            && self.open() == 0
    }

    fn with_status(&self, status: &str) -> usize {
        let found = self.orders.values().filter(|it| *it == status);
        found.count()
    }

    /// The orders that have not ended.
    fn open(&self) -> usize {
        self.orders.len() - self.with_status("CONFIRMED") - self.with_status("CANCELLED")
    }

    /// The figures, for programs.
    pub(crate) fn figures(&self) -> Value {
        json!({
            "asked": self.asked,
            "unanswered": self.unanswered,
            "promised": self.promised,
            "lost": self.lost,
            "confirmed": self.with_status("CONFIRMED"),
            "cancelled": self.with_status("CANCELLED"),
            "open": self.open(),
            "unrest": self.unrest,
            "violations": self.violations,
        })
    }
}

/// Waits until nothing goes on; what goes on for too long, and what is broken. What is still on a bus outside of the shop
/// is not seen; it shows in the invariants, so these may take their time too.
async fn come_to_rest(view: &Inspection) -> Result<(Vec<String>, Vec<String>), BoxError> {
    let deadline = env::instant() + PATIENCE;
    loop {
        let unrest = view.unrest().await?;
        let violations = match unrest.is_empty() {
            true => violations(view).await,
            false => Vec::new(),
        };
        let is_over = unrest.is_empty() && violations.is_empty();
        if is_over || env::instant() > deadline {
            return Ok((unrest, violations));
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn orders(view: &Inspection) -> Result<BTreeMap<String, String>, BoxError> {
    let sql = "SELECT id, status FROM orders";
    let rows = view.query("order-service", sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.get("id")?, row.get("status")?)))
        .collect()
}

async fn violations(view: &Inspection) -> Vec<String> {
    let mut found = Vec::new();
    for invariant in shop::system().invariants() {
        if let Err(reason) = invariant.check(view.clone()).await {
            found.push(format!("{}: {reason}", invariant.name()));
        }
    }
    found
}
