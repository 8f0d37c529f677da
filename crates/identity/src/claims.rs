//! What a service token says.

use serde::{Deserialize, Serialize};

/// Who issues service tokens: the platform, whichever service signs.
pub(crate) const ISSUER: &str = "outrigger";

/// The payload (RFC 7519, section 4.1). Every member is required, so that nothing is believed by omission.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    /// The service that calls.
    pub(crate) sub: String,
    /// The one service that is called.
    pub(crate) aud: String,
    /// Seconds since 1970.
    pub(crate) iat: i64,
    /// Seconds since 1970.
    pub(crate) exp: i64,
    pub(crate) jti: String,
    pub(crate) permissions: Vec<String>,
}
