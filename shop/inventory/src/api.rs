//! `/products`: add, show, list, restock.

use contracts::{
    Currency, Decimal, Id, Money, Page, PageRequest, Text, Whole,
    inventory::{self as view, ProductCreated},
    money::PRICE_MAX,
};
use outrigger::{env, http::header::LOCATION, prelude::*};
use serde::Deserialize;

use crate::{
    domain::{Product, STOCK_MAX, Stock, is_price},
    messages, store,
};

/// The paths that are served.
pub fn routes() -> Router<Context> {
    Router::new()
        .route("/products", post(add).get(list))
        .route("/products/{id}", get(show))
        .route("/products/{id}/restock", post(restock))
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
    Ok(Json(product.ok_or_else(|| no_product(&id))?))
}

fn no_product(id: &str) -> Problem {
    let detail = format!("There is no product {id}.");
    Problem::new(StatusCode::NOT_FOUND, "product-not-found", detail)
}

#[derive(Deserialize)]
#[serde(expecting = "a delivery: an object with quantity")]
struct Delivery {
    quantity: Whole<1, STOCK_MAX>,
}

/// Takes in more pieces; a request with a key does so once.
async fn restock(
    State(ctx): State<Context>,
    once: Idempotency,
    Path(id): Path<String>,
    Json(Delivery { quantity }): Json<Delivery>,
) -> Result<Json<view::Product>, Rejection> {
    if once.decided::<u32>(ctx.db()).await?.is_none() {
        let (ctx, once, id) = (&ctx, &once, id.as_str());
        ctx.db()
            .transaction(async |mut tx| {
                once.decide(&mut tx, &quantity.get()).await?;
                take_in(&mut tx, id, quantity.get()).await
            })
            .await?;
    }
    show(State(ctx), Path(id)).await
}

async fn take_in(tx: &mut Transaction, id: &str, quantity: u32) -> Result<(), Rejection> {
    let taken = store::take(tx, [id].into_iter()).await?;
    let product = taken.get(id).ok_or_else(|| no_product(id))?;
    let stock = product.stock.receive(quantity).ok_or_else(|| {
        let detail = format!("The shop takes in at most {STOCK_MAX} of a product.");
        Problem::invalid_field("quantity", detail)
    })?;
    let product = Product {
        stock,
        ..product.clone()
    };
    store::save_stock(tx, &product).await?;
    tx.publish(messages::stock_changed(&product))?;
    Ok(())
}

fn taken(id: &str) -> Rejection {
    let detail = format!("There is a product {id} already.");
    Problem::new(StatusCode::CONFLICT, "product-exists", detail)
        .with("field", "id")
        .into()
}
