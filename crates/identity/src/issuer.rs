//! Tokens for calls, kept until they are nearly spent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use env::Timestamp;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, Header};

use crate::{
    Error, Keyring, TOKEN_LIFETIME,
    claims::{Claims, ISSUER},
};

/// Signs the tokens with which one service calls others. A clone shares the kept tokens.
///
/// At most one token for each granted audience is kept; it is used for four fifths of its life, or until
/// the ring signs with another key.
#[derive(Clone, Debug)]
pub struct Issuer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keyring: Keyring,
    service: String,
    grants: BTreeMap<String, Vec<String>>,
    kept: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Clone)]
struct Kept {
    token: Arc<str>,
    bearer: HeaderValue,
    key: String,
    renew: Timestamp,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("key", &self.key)
            .field("renew", &self.renew)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// The issuer of `service`, which may do what `grants` says: permissions by called service.
    pub fn new(
        keyring: Keyring,
        service: impl Into<String>,
        grants: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                keyring,
                service: service.into(),
                grants,
                kept: Mutex::default(),
            }),
        }
    }

    /// The service that signs.
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// A token for calling `audience`.
    ///
    /// # Errors
    /// [`Error::NotGranted`], [`Error::NoSigningKey`], [`Error::Signing`].
    pub fn token(&self, audience: &str) -> Result<Arc<str>, Error> {
        self.inner.kept(audience).map(|kept| kept.token)
    }

    /// The value of the `authorization` header for calling `audience`, marked as sensitive.
    ///
    /// # Errors
    /// As [`Issuer::token`].
    pub fn bearer(&self, audience: &str) -> Result<HeaderValue, Error> {
        self.inner.kept(audience).map(|kept| kept.bearer)
    }
}

impl Inner {
    fn kept(&self, audience: &str) -> Result<Kept, Error> {
        let permissions = self.grants.get(audience).ok_or_else(|| Error::NotGranted {
            service: self.service.clone(),
            audience: audience.to_owned(),
        })?;
        let key = self.keyring.signing()?;
        let now = env::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.get(audience)
            && kept.key == key.id
            && now < kept.renew
        {
            return Ok(kept.clone());
        }

        let lifetime = TOKEN_LIFETIME.as_secs().cast_signed();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: self.service.clone(),
            aud: audience.to_owned(),
            iat: now.as_second(),
            exp: now.as_second() + lifetime,
            jti: env::id().to_string(),
            permissions: permissions.clone(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.id.clone());
        let token =
            jsonwebtoken::encode(&header, &claims, &key.encoding()).map_err(Error::Signing)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .expect("base64url and dots are a header value");
        bearer.set_sensitive(true);
        let new = Kept {
            token: token.into(),
            bearer,
            key: key.id,
            renew: now
                .checked_add(TOKEN_LIFETIME * 4 / 5)
                .unwrap_or(Timestamp::MAX),
        };
        kept.insert(audience.to_owned(), new.clone());
        Ok(new)
    }
}
