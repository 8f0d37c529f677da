//! The public side of a keyring, and the keys that a verifier trusts.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use env::Timestamp;
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, JwkSet},
};
use serde::{Deserialize, Serialize};

use crate::{Keyring, crypto, key::Key};

/// A JSON Web Key Set (RFC 7517, section 5) of public keys: what a ring publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Jwks(JwkSet);

impl Jwks {
    pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Self {
        Self(JwkSet {
            keys: keys.into_iter().map(Key::public).collect(),
        })
    }

    /// The ids of the keys, in the order of the set.
    pub fn ids(&self) -> Vec<&str> {
        let keys = self.0.keys.iter();
        keys.filter_map(|jwk| jwk.common.key_id.as_deref())
            .collect()
    }
}

/// The public keys that a verifier believes, by id. A clone sees later changes, so that keys rotate
/// without a restart.
#[derive(Clone, Debug)]
pub struct TrustedKeys {
    by_id: Arc<ArcSwap<BTreeMap<String, TrustedKey>>>,
}

#[derive(Clone, Debug)]
struct TrustedKey {
    key: DecodingKey,
    until: Option<Timestamp>,
}

impl TrustedKeys {
    fn new(by_id: BTreeMap<String, TrustedKey>) -> Self {
        crypto::install();
        Self {
            by_id: Arc::new(ArcSwap::from_pointee(by_id)),
        }
    }

    /// Trusts the Ed25519 keys of `jwks` from now on, and no others.
    pub fn replace(&self, jwks: &Jwks) {
        self.by_id.store(Arc::new(by_id(jwks)));
    }

    pub(crate) fn of(keys: &[Key]) -> Self {
        let trusted = Self::new(BTreeMap::new());
        trusted.replace_own(keys);
        trusted
    }

    pub(crate) fn replace_own(&self, keys: &[Key]) {
        let trusted = |key: &Key| TrustedKey {
            key: key.decoding(),
            until: key.verifies_until,
        };
        let by_id = keys.iter().map(|key| (key.id.clone(), trusted(key)));
        self.by_id.store(Arc::new(by_id.collect()));
    }

    pub(crate) fn find(&self, id: &str, now: Timestamp) -> Option<DecodingKey> {
        let by_id = self.by_id.load();
        let trusted = by_id.get(id)?;
        (trusted.until.is_none_or(|until| now < until)).then(|| trusted.key.clone())
    }
}

fn by_id(jwks: &Jwks) -> BTreeMap<String, TrustedKey> {
    let trusted = jwks.0.keys.iter().filter_map(|jwk| {
        let id = jwk.common.key_id.clone()?;
        let AlgorithmParameters::OctetKeyPair(parameters) = &jwk.algorithm else {
            return None;
        };
        if parameters.curve != EllipticCurve::Ed25519 {
            return None;
        }
        let key = DecodingKey::from_ed_components(&parameters.x).ok()?;
        Some((id, TrustedKey { key, until: None }))
    });
    trusted.collect()
}

impl From<&Jwks> for TrustedKeys {
    fn from(jwks: &Jwks) -> Self {
        Self::new(by_id(jwks))
    }
}

impl From<&Keyring> for TrustedKeys {
    fn from(keyring: &Keyring) -> Self {
        keyring.trusted()
    }
}
