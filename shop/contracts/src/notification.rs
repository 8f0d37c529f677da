//! What notification-service says.

use outrigger::{env::Timestamp, prelude::*};
use serde::{Deserialize, Serialize};

/// Its name.
pub const SERVICE: &str = "notification-service";

/// Somebody was told something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("notification.sent", version = 1, key = user_id)]
#[serde(rename_all = "camelCase")]
pub struct NotificationSent {
    /// Which notification.
    pub notification_id: String,
    /// Who was told.
    pub user_id: String,
    /// Where.
    pub email: String,
    /// What about: the type of the event that it tells of.
    pub about: String,
}

/// A notification, as `GET /notifications?userId=` shows one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Which.
    pub id: String,
    /// Who was told.
    pub user_id: String,
    /// Where.
    pub email: String,
    /// What about: the type of the event that it tells of.
    pub about: String,
    /// In one line.
    pub subject: String,
    /// In full.
    pub body: String,
    /// When.
    pub created_at: Timestamp,
}
