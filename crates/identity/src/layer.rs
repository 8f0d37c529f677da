//! The door: 401 and 403, or the [`Caller`] among the request's extensions.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use env::Problem;
use futures::future::Either;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header::WWW_AUTHENTICATE};
use tower::{Layer, Service};

use crate::{Caller, Error, Verifier};

/// Lets only requests through that carry a valid service token with a permission.
///
/// The others are answered with problem details: 401 `unauthenticated` with `WWW-Authenticate` (RFC
/// 6750, section 3), 403 `forbidden` where the caller is known and the permission lacks, 421
/// `misdirected` where the token is good and for another service (RFC 9110, section 15.5.20). The answer
/// comes before the body of the request is read.
#[derive(Clone, Debug)]
pub struct RequireToken {
    verifier: Verifier,
    permission: Arc<str>,
}

impl RequireToken {
    /// Requires `permission` of every caller; [`CALL`](crate::CALL) for a call as such.
    pub fn new(verifier: Verifier, permission: &str) -> Self {
        Self {
            verifier,
            permission: permission.into(),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let caller = self.verifier.verify_headers(headers)?;
        if caller.may(&self.permission) {
            Ok(caller)
        } else {
            Err(Error::Forbidden {
                service: caller.service,
                permission: self.permission.to_string(),
            })
        }
    }

    fn refuse(&self, error: &Error, path: &str) -> Response {
        tracing::info!(%error, path, "refused a call");
        let (status, kind) = match error {
            Error::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            // A good token, for whoever was at this address before: its bearer may try elsewhere.
            Error::Audience { .. } => (StatusCode::MISDIRECTED_REQUEST, "misdirected"),
            _ => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        };
        let mut response = Problem::new(status, kind, format!("Refused: {error}."))
            .at(path)
            .into_response();
        let realm = self.verifier.audience();
        let challenge = match error {
            Error::Missing => format!(r#"Bearer realm="{realm}""#),
            Error::Forbidden { permission, .. } => format!(
                r#"Bearer realm="{realm}", error="insufficient_scope", scope="{permission}""#
            ),
            error => format!(
                r#"Bearer realm="{realm}", error="invalid_token", error_description="{error}""#
            ),
        };
        if let Ok(value) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}

impl<S> Layer<S> for RequireToken {
    type Service = TokenRequired<S>;

    fn layer(&self, inner: S) -> TokenRequired<S> {
        TokenRequired {
            inner,
            door: self.clone(),
        }
    }
}

/// See [`RequireToken`].
#[derive(Clone, Debug)]
pub struct TokenRequired<S> {
    inner: S,
    door: RequireToken,
}

impl<S, B> Service<Request<B>> for TokenRequired<S>
where
    S: Service<Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.door.admit(request.headers()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(error) => {
                let refusal = self.door.refuse(&error, request.uri().path());
                Either::Right(ready(Ok(refusal)))
            }
        }
    }
}
