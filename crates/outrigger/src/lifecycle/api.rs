//! The API of a service with everything around it: tokens, limits, figures, probes, the doors of operators.

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath},
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    response::IntoResponse,
};
use env::Problem;
use identity::{RequireToken, Verifier};
use telemetry::http::ServerLayer;
use tower_http::catch_panic::CatchPanicLayer;

use super::{closing, stages::Life};
use crate::{
    Context, Platform, Service,
    admission::AdmissionLayer,
    dead_letters,
    endpoints::{self, Probes},
    idempotency, operations,
};

/// The most that the body of a request to a service may hold, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// The API of `service`, outermost layer last.
pub(super) fn app(
    service: &Service,
    context: &Context,
    platform: &Platform,
    probes: Probes,
    life: &Life,
) -> Router {
    let verifier = Verifier::new(platform.keyring(), service.name());
    let keys = idempotency::Keys {
        db: context.db().clone(),
        keep: platform.settings().idempotency.keep,
        body_limit: BODY_LIMIT,
        running: life.serving.clone(),
    };
    service
        .declared_routes()
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .with_state(context.clone())
        // Wrong input must be cheap to refuse.
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        // A handler that panics answers 500 and takes nothing else with it.
        .layer(CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        // Outside the net for panics, so that one ends its claim; behind the token, which says whose key it is (G3).
        .layer(from_fn_with_state(keys, idempotency::layer))
        // Nothing of the API is reached without a token (G10).
        .layer(RequireToken::new(verifier.clone(), identity::CALL))
        // Before the token is looked at, for a refusal must cost next to nothing; not around operators, who come when there
        // is too much to do (G9).
        .layer(AdmissionLayer {
            settings: platform.settings().admission,
            metrics: context.metrics().clone(),
        })
        // Beside the API: its callers have no say here, nor have operators there.
        .merge(dead_letters::routes(context.clone(), verifier.clone()))
        .merge(operations::routes(context.clone(), verifier))
        // Outside the token check, so that a refusal is in the trace and the figures too.
        .layer(
            ServerLayer::new(context.metrics().clone(), context.performance().clone())
                .route(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str)),
        )
        // Probes and scrapes carry no token, and are not traced.
        .merge(endpoints::routes(probes))
        // Around everything, for every answer may be the last on its connection.
        .layer(from_fn_with_state(life.closing.clone(), closing::layer))
}

async fn unknown_route(uri: Uri) -> Problem {
    let detail = format!("There is nothing at {}.", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "route-not-found", detail).at(uri.path())
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}.", uri.path());
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(status, "method-not-allowed", detail).at(uri.path())
}
