//! What a token must be to be believed.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};

use crate::{
    Error, LEEWAY,
    claims::{Claims, ISSUER},
    jwks::TrustedKeys,
};

/// The longest token that is looked at, in bytes; ours are about 500.
const TOKEN_LIMIT: usize = 8 * 1024;

/// A service that proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub service: String,
    /// What it may do here.
    pub permissions: BTreeSet<String>,
}

impl Caller {
    /// Whether it may do what needs `permission`.
    pub fn may(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }
}

/// Checks tokens for one audience. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: TrustedKeys,
    audience: Arc<str>,
    signature: Arc<Validation>,
}

impl Verifier {
    /// Believes what `keys` signed for `audience`, the called service.
    pub fn new(keys: impl Into<TrustedKeys>, audience: &str) -> Self {
        let mut signature = Validation::new(Algorithm::EdDSA);
        // The claims are checked below: jsonwebtoken would read its own clock, and would take a missing
        // claim for a good one.
        signature.validate_exp = false;
        signature.validate_aud = false;
        signature.required_spec_claims.clear();
        Self {
            keys: keys.into(),
            audience: audience.into(),
            signature: Arc::new(signature),
        }
    }

    /// The service whose door this is.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Checks the `authorization` of a request.
    ///
    /// # Errors
    /// [`Error::Missing`], and as [`Verifier::verify`].
    pub fn verify_headers(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Error::Missing)?;
        if values.next().is_some() {
            return Err(Error::Malformed("there is more than one"));
        }
        let (scheme, token) = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .ok_or(Error::Malformed("it has no scheme"))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::Malformed("its scheme is not Bearer"));
        }
        self.verify(token.trim())
    }

    /// Checks `token`: in this order its form, algorithm, key, signature, issuer, audience and time.
    ///
    /// # Errors
    /// What is wrong with it; nothing in it may be believed then.
    pub fn verify(&self, token: &str) -> Result<Caller, Error> {
        if token.len() > TOKEN_LIMIT {
            return Err(Error::Malformed("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            // The header is JSON with an algorithm that jsonwebtoken has no name for, such as `none`.
            ErrorKind::Json(cause) if cause.is_data() => Error::Algorithm,
            _ => Error::Malformed("it is not a JWT"),
        })?;
        if header.alg != Algorithm::EdDSA {
            return Err(Error::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Error::Malformed("it has critical header fields"));
        }
        let id = header.kid.ok_or(Error::UnknownKey)?;
        let now = env::now();
        let key = self.keys.find(&id, now).ok_or(Error::UnknownKey)?;
        let claims: Claims = jsonwebtoken::decode(token, &key, &self.signature)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::Base64(_) => Error::Signature,
                _ => Error::Malformed("its claims are not those of a service token"),
            })?
            .claims;

        if claims.iss != ISSUER {
            return Err(Error::Issuer);
        }
        if claims.aud != *self.audience {
            return Err(Error::Audience {
                expected: self.audience.to_string(),
            });
        }
        let leeway = LEEWAY.as_secs().cast_signed();
        if now.as_second() >= claims.exp.saturating_add(leeway) {
            return Err(Error::Expired);
        }
        if now.as_second() < claims.iat.saturating_sub(leeway) {
            return Err(Error::NotYetValid);
        }
        Ok(Caller {
            service: claims.sub,
            permissions: claims.permissions.into_iter().collect(),
        })
    }
}
