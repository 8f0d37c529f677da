//! One Ed25519 key pair and the time in which it counts.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use env::Timestamp;
use jsonwebtoken::{
    DecodingKey, EncodingKey,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm,
        OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse,
    },
};
use ring::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::{Deserialize, Serialize};

const SEED_LENGTH: usize = 32;

/// A key pair. It signs from `signs_from` on, and what it signed is believed until `verifies_until`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    seed: [u8; SEED_LENGTH],
    point: Vec<u8>,
    pub(crate) signs_from: Timestamp,
    pub(crate) verifies_until: Option<Timestamp>,
}

impl Key {
    pub(crate) fn generate(signs_from: Timestamp) -> Self {
        let mut seed = [0; SEED_LENGTH];
        rand::Rng::fill_bytes(&mut env::random(), &mut seed);
        Self::from_seed(seed, signs_from, None)
    }

    fn from_seed(
        seed: [u8; SEED_LENGTH],
        signs_from: Timestamp,
        verifies_until: Option<Timestamp>,
    ) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed of 32 bytes is a key");
        let point = pair.public_key().as_ref().to_vec();
        Self {
            id: thumbprint(&point),
            seed,
            point,
            signs_from,
            verifies_until,
        }
    }

    pub(crate) fn encoding(&self) -> EncodingKey {
        EncodingKey::from_ed_der(&self.seed)
    }

    pub(crate) fn decoding(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.point)
    }

    /// Whether the key still verifies at `now`.
    pub(crate) fn is_trusted(&self, now: Timestamp) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }

    pub(crate) fn public(&self) -> Jwk {
        Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(KeyAlgorithm::EdDSA),
                key_id: Some(self.id.clone()),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: URL_SAFE_NO_PAD.encode(&self.point),
            }),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("signs_from", &self.signs_from)
            .field("verifies_until", &self.verifies_until)
            .finish_non_exhaustive()
    }
}

/// The id of a key: its JWK thumbprint (RFC 8037, appendix A.3), the same wherever it is computed.
fn thumbprint(point: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(point);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// A key as the file holds it: a private JWK (RFC 8037) and the time in which it counts.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredKey {
    kty: String,
    crv: String,
    kid: String,
    x: String,
    d: String,
    signs_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifies_until: Option<Timestamp>,
}

impl From<&Key> for StoredKey {
    fn from(key: &Key) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            kid: key.id.clone(),
            x: URL_SAFE_NO_PAD.encode(&key.point),
            d: URL_SAFE_NO_PAD.encode(key.seed),
            signs_from: key.signs_from,
            verifies_until: key.verifies_until,
        }
    }
}

impl TryFrom<StoredKey> for Key {
    type Error = String;

    fn try_from(stored: StoredKey) -> Result<Self, String> {
        if stored.kty != "OKP" || stored.crv != "Ed25519" {
            return Err(format!("key {} is not an Ed25519 key", stored.kid));
        }
        let seed = URL_SAFE_NO_PAD
            .decode(&stored.d)
            .ok()
            .and_then(|seed| seed.try_into().ok())
            .ok_or_else(|| format!("`d` of key {} is not 32 bytes in base64url", stored.kid))?;
        let key = Self::from_seed(seed, stored.signs_from, stored.verifies_until);
        // A public half that is not the private one's would make every token of this key fail elsewhere.
        if key.id != stored.kid || URL_SAFE_NO_PAD.encode(&key.point) != stored.x {
            return Err(format!("`x`, `kid` and `d` of key {} differ", stored.kid));
        }
        Ok(key)
    }
}
