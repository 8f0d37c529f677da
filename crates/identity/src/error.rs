//! What can be wrong with a key, a token or a permission.

use std::path::PathBuf;

/// Why a token was not issued or not believed, or a key not read.
///
/// No variant carries a key or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request carries no `authorization` header.
    #[error("the request carries no service token")]
    Missing,
    /// What came is not a token: not the `Bearer` scheme, not a JWT, not the claims of one of ours.
    #[error("the authorization is not a service token: {0}")]
    Malformed(&'static str),
    /// The header names an algorithm other than EdDSA, such as `none` or an HMAC over the public key.
    #[error("the token is not signed with EdDSA")]
    Algorithm,
    /// No key of the ring has the token's key id; it may have been retired.
    #[error("the token is signed with a key that is not trusted here")]
    UnknownKey,
    /// The signature is not that of the named key over these bytes.
    #[error("the token's signature is wrong")]
    Signature,
    /// Issued by somebody else.
    #[error("the token was not issued by this platform")]
    Issuer,
    /// The token is meant for another service.
    #[error("the token is for another audience than {expected}")]
    Audience {
        /// The service that was called.
        expected: String,
    },
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// The token is from the future: a clock is wrong by more than the leeway.
    #[error("the token is not valid yet; compare the clocks of both machines")]
    NotYetValid,
    /// The caller is known and may not do this.
    #[error("{service} lacks the permission `{permission}`")]
    Forbidden {
        /// Who called.
        service: String,
        /// What the call needs.
        permission: String,
    },
    /// A service asked for a token for a service that it was granted nothing on.
    #[error("{service} has no grant for {audience}; declare it in `depends_on`")]
    NotGranted {
        /// Who wants to call.
        service: String,
        /// Whom.
        audience: String,
    },
    /// The ring has no key that may sign now.
    #[error("the keyring has no key that may sign at this time; rotate it")]
    NoSigningKey,
    /// Signing failed.
    #[error("cannot sign a token")]
    Signing(#[source] jsonwebtoken::errors::Error),
    /// The key file cannot be read.
    #[error("cannot read the keyring {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The key file cannot be written.
    #[error("cannot write the keyring {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Everybody on the machine may read the private keys.
    #[error("the keyring {} has mode {mode:03o} and is open to everybody; run chmod 600 on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold keys.
    #[error("the keyring {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}
