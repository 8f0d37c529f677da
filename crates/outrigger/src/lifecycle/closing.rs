//! Whoever is answered by a service that leaves is told to connect elsewhere next time.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};
use tokio_util::sync::CancellationToken;

/// Says so in each answer, from `closing` on. So no connection that a client keeps is cut just as it sends another
/// request. HTTP/2 has a word of its own for it.
pub(super) async fn layer(
    State(closing): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let version = request.version();
    let mut response = next.run(request).await;
    if closing.is_cancelled() && version < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}
