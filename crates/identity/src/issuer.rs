//! Tokens for calls, kept until they are nearly spent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use env::Timestamp;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, Header};

use crate::{
    Error, Keyring, TOKEN_LIFETIME,
    claims::{Claims, ISSUER},
    key::Key,
};

/// Signs the tokens with which one service calls others. A clone shares the kept tokens.
///
/// At most one token for each granted audience is kept; it is used for four fifths of its life, or until
/// the ring signs with another key. Where the clock is set back to before it was signed, it is not used either: to all others
/// it may be from the future.
#[derive(Clone, Debug)]
pub struct Issuer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keyring: Keyring,
    service: String,
    grants: BTreeMap<String, Vec<String>>,
    lifetime: Duration,
    kept: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Clone)]
struct Kept {
    token: Arc<str>,
    bearer: HeaderValue,
    key: String,
    signed: Timestamp,
    renew: Timestamp,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("key", &self.key)
            .field("signed", &self.signed)
            .field("renew", &self.renew)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// The issuer of `service`, which may do what `grants` says: permissions by called service. Its tokens are good for
    /// [`TOKEN_LIFETIME`].
    pub fn new(
        keyring: Keyring,
        service: impl Into<String>,
        grants: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self::with_lifetime(keyring, service, grants, TOKEN_LIFETIME)
    }

    /// The same, with tokens that are good for `lifetime`: at most for [`TOKEN_LIFETIME`], which is how long a key is trusted
    /// after it was [rotated](Keyring::rotate) out.
    pub fn with_lifetime(
        keyring: Keyring,
        service: impl Into<String>,
        grants: BTreeMap<String, Vec<String>>,
        lifetime: Duration,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                keyring,
                service: service.into(),
                grants,
                lifetime: lifetime.min(TOKEN_LIFETIME),
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

    /// A token for calling `audience` that is good for `lifetime`, and is not kept: for a program that cannot sign its own
    /// ones. It ends sooner when the key that signed it is [rotated](Keyring::rotate) out.
    ///
    /// # Errors
    /// As [`Issuer::token`].
    pub fn lasting_token(&self, audience: &str, lifetime: Duration) -> Result<String, Error> {
        let permissions = self.inner.granted(audience)?;
        let key = self.inner.keyring.signing()?;
        self.inner.sign(&key, audience, permissions, lifetime)
    }
}

impl Inner {
    fn granted(&self, audience: &str) -> Result<&[String], Error> {
        let granted = self.grants.get(audience).map(Vec::as_slice);
        granted.ok_or_else(|| Error::NotGranted {
            service: self.service.clone(),
            audience: audience.to_owned(),
        })
    }

    fn sign(
        &self,
        key: &Key,
        audience: &str,
        permissions: &[String],
        lifetime: Duration,
    ) -> Result<String, Error> {
        let now = env::now().as_second();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: self.service.clone(),
            aud: audience.to_owned(),
            iat: now,
            exp: now.saturating_add(lifetime),
            jti: env::id().to_string(),
            permissions: permissions.to_vec(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, &claims, &key.encoding()).map_err(Error::Signing)
    }

    fn kept(&self, audience: &str) -> Result<Kept, Error> {
        let permissions = self.granted(audience)?;
        let key = self.keyring.signing()?;
        let now = env::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.get(audience)
            && kept.key == key.id
            && (kept.signed..kept.renew).contains(&now)
        {
            return Ok(kept.clone());
        }
        let token = self.sign(&key, audience, permissions, self.lifetime)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .expect("base64url and dots are a header value");
        bearer.set_sensitive(true);
        let new = Kept {
            token: token.into(),
            bearer,
            key: key.id,
            signed: now,
            renew: now
                .checked_add(self.lifetime * 4 / 5)
                .unwrap_or(Timestamp::MAX),
        };
        kept.insert(audience.to_owned(), new.clone());
        Ok(new)
    }
}
