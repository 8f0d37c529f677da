//! What user-service says.

use outrigger::{env::Timestamp, prelude::*};
use serde::{Deserialize, Serialize};

/// Its name.
pub const SERVICE: &str = "user-service";

/// Somebody signed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("user.registered", version = 1, key = user_id)]
#[serde(rename_all = "camelCase")]
pub struct UserRegistered {
    /// Who.
    pub user_id: String,
    /// Where to write to.
    pub email: String,
    /// How to address them.
    pub name: String,
}

/// A user's name or e-mail address changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("user.updated", version = 1, key = user_id)]
#[serde(rename_all = "camelCase")]
pub struct UserUpdated {
    /// Who.
    pub user_id: String,
    /// The address from now on.
    pub email: String,
    /// The name from now on.
    pub name: String,
    /// The user's version, as in [`User::version`].
    pub version: i64,
}

/// A user, as `GET /users/{id}` shows one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Who.
    pub id: String,
    /// Where to write to.
    pub email: String,
    /// How to address them.
    pub name: String,
    /// 1 at first, one more with each change: of two copies, the higher is the newer.
    pub version: i64,
    /// When they signed up.
    pub created_at: Timestamp,
}
