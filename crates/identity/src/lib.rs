//! Service tokens: who calls, and what the caller may do.
//!
//! A service that calls another signs a JWT (EdDSA, minutes long) that names itself, the one service
//! that it is for and what it may do there; the called service checks it before anything else sees the
//! request. What is guaranteed (G10): behind [`RequireToken`] nothing runs without a token that was
//! signed by a key of the ring, for this audience, now, with this permission.
//!
//! Start at [`Verifier::verify`]: it is the list of what is checked.
//!
//! | module | subject |
//! |---|---|
//! | [`keyring`] | Ed25519 keys, their rotation with overlap, the file that processes share |
//! | [`jwks`] | the public side of a ring, and the keys that a verifier trusts |
//! | [`issuer`] | tokens for calls, kept until they are nearly spent |
//! | [`verifier`] | what a token must be to be believed |
//! | [`layer`] | the door: 401 and 403, or the [`Caller`] among the request's extensions |
//!
//! ```
//! use std::collections::BTreeMap;
//! # use outrigger_identity as identity;
//! use identity::{Issuer, Keyring, Verifier};
//!
//! let keyring = Keyring::generate();
//! let grants = BTreeMap::from([("user-service".to_owned(), vec!["call".to_owned()])]);
//! let issuer = Issuer::new(keyring.clone(), "order-service", grants);
//!
//! let caller = Verifier::new(&keyring, "user-service").verify(&issuer.token("user-service")?)?;
//! assert_eq!(caller.service, "order-service");
//! assert!(caller.may("call"));
//! # Ok::<(), identity::Error>(())
//! ```

mod claims;
mod crypto;
mod error;
pub mod issuer;
pub mod jwks;
mod key;
pub mod keyring;
pub mod layer;
pub mod verifier;

use std::time::Duration;

pub use error::Error;
pub use issuer::Issuer;
pub use jwks::{Jwks, TrustedKeys};
pub use keyring::Keyring;
pub use layer::RequireToken;
pub use verifier::{Caller, Verifier};

/// How long a token is good for.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How far apart the clocks of two machines may be.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// The permission that every call between services needs.
pub const CALL: &str = "call";
/// The permission that is needed to change what a service keeps for its operators, such as its dead letters
/// and its sagas. No
/// service gets it for its calls.
pub const OPERATE: &str = "operate";
