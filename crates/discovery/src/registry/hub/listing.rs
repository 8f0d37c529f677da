//! The instances that a hub lists, as they are sent.

use env::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Instance;

/// An instance, and when the hub last heard of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// When it registered, or said that it lives.
    pub last_heartbeat: Timestamp,
}

/// Some of the instances, by id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Those on the page.
    pub instances: Vec<Listed>,
    /// What `after` is for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
