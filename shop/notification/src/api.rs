//! `/notifications`: what a user was told.

use contracts::{Id, Page, PageRequest, notification::Notification};
use outrigger::prelude::*;
use serde::Deserialize;

use crate::store;

/// The paths that are served.
pub fn routes() -> Router<Context> {
    Router::new().route("/notifications", get(list))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToUser {
    user_id: Id,
}

async fn list(
    State(ctx): State<Context>,
    Query(to): Query<ToUser>,
    Query(page): Query<PageRequest>,
) -> Result<Json<Page<Notification>>, Rejection> {
    Ok(Json(
        store::list(ctx.db(), to.user_id.as_str(), &page).await?,
    ))
}
