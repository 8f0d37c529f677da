//! What is written and read where events are measured: an account, and events about as large as those of the shop.

use eventsourcing::Aggregate;
use serde::{Deserialize, Serialize};

/// What happens to an account.
#[derive(Serialize, Deserialize, Clone)]
#[serde(tag = "type", content = "data")]
pub enum Change {
    /// An amount was paid in.
    Deposited {
        account: String,
        amount: i64,
        note: String,
    },
}

/// The thing whose events are written.
#[derive(Default)]
pub struct Account(pub i64);

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Event = Change;

    fn apply(&mut self, event: &Change) {
        let Change::Deposited { amount, .. } = event;
        self.0 += amount;
    }
}

pub fn change(account: &str) -> Change {
    Change::Deposited {
        account: account.to_owned(),
        amount: 1250,
        note: "a deposit with a note of ordinary length".to_owned(),
    }
}

/// The data of a [`Change`], for those who read it without Outrigger.
#[derive(Deserialize)]
pub struct Data {
    pub account: String,
    pub amount: i64,
    #[allow(dead_code, reason = "it is decoded, as Outrigger does")]
    pub note: String,
}

/// The data of [`change`] as it is stored.
pub fn stored() -> crate::Result<String> {
    Ok(serde_json::to_value(change("account-0"))?["data"].to_string())
}

/// What is stored beside it: the context of a request.
pub fn metadata() -> String {
    serde_json::json!({ "correlationId": env::id().to_string() }).to_string()
}
