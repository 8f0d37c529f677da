//! `/orders` and `/order-history`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use contracts::{
    Id, Page, PageRequest,
    inventory::{self, Product, refusal},
    order::{Customer, HistoryEntry, Item, Order, OrderStatus},
    payment,
    user::{self, User},
};
use outrigger::{
    env,
    futures::{StreamExt, TryStreamExt, future::try_join, stream},
    http::{HeaderName, HeaderValue, header::LOCATION},
    prelude::*,
    saga,
};
use serde::{Deserialize, Serialize};

use crate::{
    basket::{self, Basket, Refusal as Why},
    history,
    place_order::PlaceOrder,
    store,
};

/// How long `POST /orders` waits for the end of the saga.
pub const WAIT: Duration = Duration::from_secs(3);
/// How many products are asked for at once.
const LOOKUPS: usize = 8;

/// The paths that are served.
pub fn routes() -> Router<Context> {
    Router::new()
        .route("/orders", post(place))
        .route("/orders/{id}", get(show))
        .route("/orders/{id}/cancel", post(cancel))
        .route("/order-history", get(list))
}

#[derive(Deserialize)]
#[serde(
    rename_all = "camelCase",
    expecting = "an order: an object with userId and items"
)]
struct NewOrder {
    user_id: Id,
    items: Vec<basket::Item>,
    payment_method: Option<Id>,
}

/// Starts the saga, and waits for its end unless the client will not.
async fn place(
    State(ctx): State<Context>,
    once: Idempotency,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<Response, Rejection> {
    let order = match once.decided(ctx.db()).await? {
        // An earlier run of this request has placed the order, and could not say so.
        Some(order) => order,
        None => start(&ctx, &once, new).await?,
    };
    if prefers_async(&headers) {
        return Ok(([PREFERENCE_APPLIED], accepted(&order)).into_response());
    }
    match ctx.sagas().wait(&order.order_id, WAIT).await? {
        Some(Outcome::Completed) => confirmed(&ctx, &order).await,
        Some(Outcome::Compensated(failure)) => Err(failed(&order, failure).into()),
        Some(Outcome::Parked { .. }) | None => Ok(accepted(&order).into_response()),
    }
}

/// Checks what is asked for and starts the saga; a request with a key does so once.
async fn start(ctx: &Context, once: &Idempotency, new: NewOrder) -> Result<PlaceOrder, Rejection> {
    basket::check_count(&new.items).map_err(unfillable)?;
    let (user, catalogue) = try_join(find_user(ctx, &new), find_products(ctx, &new)).await?;
    let user = user.ok_or_else(|| no_user(&new))?;
    let basket = basket::fill(&new.items, &catalogue).map_err(unfillable)?;
    let order = PlaceOrder {
        request: once.key().map(str::to_owned),
        ..order_of(user, basket, new.payment_method)
    };
    ctx.db()
        .transaction(async |mut tx| {
            once.decide(&mut tx, &order).await?;
            let sagas = ctx.sagas();
            sagas
                .start(&mut tx, &order.order_id, order.clone())
                .await
                .map_err(Rejection::from)
        })
        .await?;
    Ok(order)
}

async fn find_user(ctx: &Context, new: &NewOrder) -> Result<Option<User>, Rejection> {
    let client = ctx.client(user::SERVICE)?;
    Ok(client.get("/users/{id}", &[&new.user_id.as_str()]).await?)
}

/// The products of the items that exist, by id.
async fn find_products(
    ctx: &Context,
    new: &NewOrder,
) -> Result<BTreeMap<String, Product>, Rejection> {
    let client = ctx.client(inventory::SERVICE)?;
    let ids: BTreeSet<Id> = new
        .items
        .iter()
        .map(|item| item.product_id.clone())
        .collect();
    stream::iter(ids)
        .map(|id| {
            let client = client.clone();
            async move {
                client
                    .get::<Product>("/products/{id}", &[&id.as_str()])
                    .await
            }
        })
        .buffered(LOOKUPS)
        .try_filter_map(|found| async { Ok(found.map(|product| (product.id.clone(), product))) })
        .try_collect()
        .await
        .map_err(Rejection::from)
}

fn order_of(user: User, basket: Basket, payment_method: Option<Id>) -> PlaceOrder {
    let User {
        id,
        email,
        name,
        version,
        ..
    } = user;
    PlaceOrder {
        order_id: env::id().to_string(),
        customer: Customer {
            user_id: id,
            email,
            name,
        },
        customer_version: version,
        lines: basket.lines,
        total: basket.total,
        payment_method: payment_method
            .map_or_else(|| payment::DEFAULT_METHOD.to_owned(), String::from),
        placed_at: contracts::now(),
        request: None,
    }
}

async fn confirmed(ctx: &Context, order: &PlaceOrder) -> Result<Response, Rejection> {
    let shown = store::find(ctx.db(), &order.order_id).await?;
    let shown = shown.unwrap_or_else(|| view(order, OrderStatus::Confirmed));
    Ok((
        StatusCode::CREATED,
        [(LOCATION, location(order))],
        Json(shown),
    )
        .into_response())
}

fn accepted(order: &PlaceOrder) -> impl IntoResponse + use<> {
    let shown = view(order, OrderStatus::Pending);
    (
        StatusCode::ACCEPTED,
        [(LOCATION, location(order))],
        Json(shown),
    )
}

fn location(order: &PlaceOrder) -> String {
    format!("/orders/{}", order.order_id)
}

fn view(order: &PlaceOrder, status: OrderStatus) -> Order {
    Order {
        id: order.order_id.clone(),
        user_id: order.customer.user_id.clone(),
        items: order.lines.iter().map(Item::from).collect(),
        status,
        reason: None,
        total: order.total.decimal(),
        currency: order.total.currency(),
        created_at: order.placed_at,
    }
}

const PREFERENCE_APPLIED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("preference-applied"),
    HeaderValue::from_static("respond-async"),
);

/// `Prefer: respond-async` (RFC 7240, section 4.1), alone or among others.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

fn no_user(new: &NewOrder) -> Problem {
    let detail = format!("There is no user {}.", new.user_id.as_str());
    Problem::new(StatusCode::NOT_FOUND, "user-not-found", detail).with("field", "userId")
}

/// Why there is no basket, naming the item.
fn unfillable(why: Why) -> Problem {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let (status, kind, field) = match &why {
        Why::Empty | Why::TooManyItems { .. } | Why::TooDear => {
            (BAD, "invalid-request", "items".to_owned())
        }
        Why::MixedCurrencies => (BAD, "mixed-currencies", "items".to_owned()),
        Why::TooMuch { index, .. } => (BAD, "invalid-request", format!("items[{index}].quantity")),
        Why::Insufficient { index, .. } => (
            BAD,
            refusal::INSUFFICIENT_INVENTORY,
            format!("items[{index}].quantity"),
        ),
        Why::ProductNotFound { index, .. } => (
            StatusCode::NOT_FOUND,
            refusal::PRODUCT_NOT_FOUND,
            format!("items[{index}].productId"),
        ),
        Why::PriceMismatch { index, .. } => (
            StatusCode::CONFLICT,
            "price-mismatch",
            format!("items[{index}].price"),
        ),
    };
    Problem::new(status, kind, why.to_string()).with("field", field)
}

/// Why the saga came to nothing.
///
/// A provider that does not answer is told as 402 too: the order is not paid, and 5xx would say that this
/// service is at fault, on which a circuit breaker acts.
fn failed(order: &PlaceOrder, failure: Failure) -> Problem {
    let status = match failure.code.as_str() {
        refusal::INSUFFICIENT_INVENTORY => StatusCode::BAD_REQUEST,
        refusal::PRODUCT_NOT_FOUND => StatusCode::NOT_FOUND,
        payment::refusal::PAYMENT_DECLINED | payment::refusal::PAYMENT_TIMEOUT => {
            StatusCode::PAYMENT_REQUIRED
        }
        _ => StatusCode::CONFLICT,
    };
    Problem::new(status, &failure.code, failure.detail).with("orderId", order.order_id.as_str())
}

/// Shows an order; 202 while it is accepted and not yet written down.
async fn show(State(ctx): State<Context>, Path(id): Path<String>) -> Result<Response, Rejection> {
    let order = store::find(ctx.db(), &id).await?;
    let pending = order
        .as_ref()
        .is_none_or(|order| order.status != OrderStatus::Confirmed);
    let saga = if pending {
        ctx.sagas().status(&id).await?
    } else {
        None
    };
    match (order, saga) {
        (Some(order), saga) => {
            let reason = saga.and_then(|saga| saga.failure);
            Ok(Json(Order { reason, ..order }).into_response())
        }
        (None, Some(saga)) if !saga.state.is_end() => {
            let order = NotYet {
                id,
                status: OrderStatus::Pending,
            };
            Ok((StatusCode::ACCEPTED, Json(order)).into_response())
        }
        (None, _) => Err(no_order(&id).into()),
    }
}

fn no_order(id: &str) -> Problem {
    let detail = format!("There is no order {id}.");
    Problem::new(StatusCode::NOT_FOUND, "order-not-found", detail)
}

/// Undoes an order that is under way, and waits for that to end. One that has ended, or is paid, stays as it is.
async fn cancel(State(ctx): State<Context>, Path(id): Path<String>) -> Result<Response, Rejection> {
    const REASON: &str = "The customer has cancelled the order.";
    match ctx.sagas().cancel(&id, REASON).await {
        Ok(()) => {}
        Err(saga::Error::NotFound { .. }) => return Err(no_order(&id).into()),
        Err(saga::Error::Ended { .. } | saga::Error::PastReturn { .. }) => {
            let detail =
                format!("Order {id} has ended or is paid; it cannot be cancelled any more.");
            return Err(Problem::new(StatusCode::CONFLICT, "order-ended", detail).into());
        }
        Err(error) => return Err(error.into()),
    }
    match ctx.sagas().wait(&id, WAIT).await? {
        Some(Outcome::Compensated(_)) => show(State(ctx), Path(id)).await,
        _ => {
            let location = [(LOCATION, format!("/orders/{id}"))];
            let order = NotYet {
                id,
                status: OrderStatus::Pending,
            };
            Ok((StatusCode::ACCEPTED, location, Json(order)).into_response())
        }
    }
}

#[derive(Serialize)]
struct NotYet {
    id: String,
    status: OrderStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfUser {
    user_id: Id,
}

async fn list(
    State(ctx): State<Context>,
    Query(of): Query<OfUser>,
    Query(page): Query<PageRequest>,
) -> Result<Json<Page<HistoryEntry>>, Rejection> {
    Ok(Json(
        history::list(ctx.db(), of.user_id.as_str(), &page).await?,
    ))
}
