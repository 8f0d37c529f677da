//! `/payments`: how an order was paid.

use contracts::{Id, Page, payment as view};
use outrigger::prelude::*;
use serde::Deserialize;

use crate::{
    domain::Payment,
    store::{self, Entry},
};

/// The paths that are served.
pub fn routes() -> Router<Context> {
    Router::new().route("/payments", get(list))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfOrder {
    order_id: Id,
}

/// An order has at most one payment, so this list is never longer than its first page.
async fn list(
    State(ctx): State<Context>,
    Query(of): Query<OfOrder>,
) -> Result<Json<Page<view::Payment>>, Rejection> {
    let items = match store::find(ctx.db(), of.order_id.as_str()).await? {
        Entry::Settled(payment) => vec![shown(payment)],
        Entry::Open | Entry::Withdrawn => Vec::new(),
    };
    Ok(Json(Page { items, next: None }))
}

fn shown(payment: Payment) -> view::Payment {
    view::Payment {
        id: payment.id,
        order_id: payment.order_id,
        user_id: payment.user_id,
        amount: payment.amount.decimal(),
        currency: payment.amount.currency(),
        status: payment.status,
        created_at: payment.created_at,
    }
}
