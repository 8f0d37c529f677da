//! `/products`: add, show, list.

use contracts::{
    Currency, Decimal, Id, Money, Page, PageRequest, Text, Whole,
    inventory::{self as view, ProductCreated},
    money::PRICE_MAX,
};
use outrigger::{env, http::header::LOCATION, prelude::*};
use serde::Deserialize;

use crate::{
    domain::{Product, STOCK_MAX, Stock, is_price},
    store,
};

/// The paths that are served.
pub fn routes() -> Router<Context> {
    Router::new()
        .route("/products", post(add).get(list))
        .route("/products/{id}", get(show))
}

#[derive(Deserialize)]
#[serde(expecting = "a product: an object with name, price and stock")]
struct NewProduct {
    id: Option<Id>,
    name: Text<200>,
    price: Decimal,
    #[serde(default)]
    currency: Currency,
    stock: Whole<0, STOCK_MAX>,
}

async fn add(
    State(ctx): State<Context>,
    once: Idempotency,
    Json(new): Json<NewProduct>,
) -> Result<impl IntoResponse, Rejection> {
    let added = match once.decided(ctx.db()).await? {
        // An earlier run of this request has added the product, and could not say so.
        Some(added) => added,
        None => receive(&ctx, &once, new).await?,
    };
    let location = format!("/products/{}", added.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(added)))
}

async fn receive(
    ctx: &Context,
    once: &Idempotency,
    new: NewProduct,
) -> Result<view::Product, Rejection> {
    let price = Money::of(new.price, new.currency);
    if !is_price(price) {
        let limit = Money::new(PRICE_MAX, new.currency);
        return Err(Problem::invalid_field("price", format!("A price is at most {limit}.")).into());
    }
    let product = Product {
        id: new.id.map_or_else(|| env::id().to_string(), String::from),
        name: new.name.into(),
        price,
        stock: Stock::received(new.stock.get()),
    };
    let added = view::Product {
        id: product.id.clone(),
        name: product.name.clone(),
        price: price.decimal(),
        currency: price.currency(),
        stock: product.stock.on_hand,
        created_at: contracts::now(),
    };
    let mut tx = ctx.db().begin().await?;
    once.decide(&mut tx, &added).await?;
    match store::insert(&mut tx, &product, added.created_at).await {
        Err(error) if error.is_unique_violation() => return Err(taken(&product.id)),
        inserted => inserted?,
    }
    tx.publish(ProductCreated {
        product_id: product.id,
        name: product.name,
        price,
        stock: product.stock.on_hand,
    })?;
    tx.commit().await?;
    Ok(added)
}

async fn list(
    State(ctx): State<Context>,
    Query(page): Query<PageRequest>,
) -> Result<Json<Page<view::Product>>, Rejection> {
    Ok(Json(store::list(ctx.db(), &page).await?))
}

async fn show(
    State(ctx): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<view::Product>, Rejection> {
    let product = store::find(ctx.db(), &id).await?;
    Ok(Json(product.ok_or_else(|| {
        let detail = format!("There is no product {id}.");
        Problem::new(StatusCode::NOT_FOUND, "product-not-found", detail)
    })?))
}

fn taken(id: &str) -> Rejection {
    let detail = format!("There is a product {id} already.");
    Problem::new(StatusCode::CONFLICT, "product-exists", detail)
        .with("field", "id")
        .into()
}
