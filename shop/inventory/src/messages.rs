//! Reserving, releasing and selling, as sagas and events ask for it.

use contracts::{
    inventory::{ReleaseItems, ReserveItems, StockChanged, StockLow},
    order::OrderConfirmed,
};
use outrigger::prelude::*;

use crate::{
    domain::{self, LOW, Product, Refusal, State, Stock},
    store,
};

/// Holds the pieces of an order, all of them or none.
pub async fn reserve_items(
    _: Context,
    tx: &mut Transaction,
    command: ReserveItems,
) -> Result<(), command::Error> {
    let ReserveItems { order_id, lines } = command;
    match store::reservation(tx, &order_id).await? {
        None => {}
        Some(State::Held | State::Sold) => return Ok(()),
        Some(State::Released) => return Err(Failure::from(Refusal::Released).into()),
    }
    let ids = lines.iter().map(|line| line.product_id.as_str());
    let before = store::take(tx, ids).await?;
    let after = domain::reserve(&before, &lines).map_err(Failure::from)?;
    store::set_reservation(tx, &order_id, State::Held).await?;
    for (line, product) in lines.iter().zip(&after) {
        store::insert_item(tx, &order_id, line).await?;
        store::save_stock(tx, product).await?;
        announce(tx, before[&product.id].stock, product)?;
    }
    Ok(())
}

/// Puts back what was held for an order. Where nothing was, it is remembered that nothing may be.
pub async fn release_items(
    _: Context,
    tx: &mut Transaction,
    command: ReleaseItems,
) -> Result<(), command::Error> {
    let state = store::reservation(tx, &command.order_id).await?;
    if state == Some(State::Sold) {
        return Err(Failure::new("reservation-sold", "The items went to the customer.").into());
    }
    if state == Some(State::Held) {
        settle(tx, &command.order_id, Stock::release).await?;
    }
    store::set_reservation(tx, &command.order_id, State::Released).await?;
    Ok(())
}

/// A confirmed order's pieces are sold.
pub async fn order_confirmed(
    _: Context,
    tx: &mut Transaction,
    event: OrderConfirmed,
) -> Result<(), BoxError> {
    match store::reservation(tx, &event.order_id).await? {
        Some(State::Held) => {
            settle(tx, &event.order_id, Stock::sell).await?;
            store::set_reservation(tx, &event.order_id, State::Sold).await?;
            Ok(())
        }
        Some(State::Sold) => Ok(()),
        None | Some(State::Released) => Err(format!(
            "order {} is confirmed, but nothing is reserved",
            event.order_id
        )
        .into()),
    }
}

/// Moves the pieces that are held for an order to where they go.
async fn settle(
    tx: &mut Transaction,
    order_id: &str,
    go: fn(Stock, u32) -> Option<Stock>,
) -> Result<(), BoxError> {
    let items = store::items(tx, order_id).await?;
    let products = store::take(tx, items.keys().map(String::as_str)).await?;
    for (product, quantity) in products.values().zip(items.values()) {
        let before = product.stock;
        let stock = go(before, *quantity).ok_or_else(|| {
            format!(
                "order {order_id} holds {quantity} of {}, but fewer are reserved",
                product.id
            )
        })?;
        let after = Product {
            stock,
            ..product.clone()
        };
        store::save_stock(tx, &after).await?;
        announce(tx, before, &after)?;
    }
    Ok(())
}

fn announce(tx: &mut Transaction, before: Stock, product: &Product) -> Result<(), BoxError> {
    tx.publish(stock_changed(product))?;
    if product.stock.fell_low(before) {
        tx.publish(StockLow {
            product_id: product.id.clone(),
            product_name: product.name.clone(),
            on_hand: product.stock.on_hand,
            threshold: LOW,
        })?;
    }
    Ok(())
}

/// Where the pieces of a product are now.
pub(crate) fn stock_changed(product: &Product) -> StockChanged {
    let Stock {
        on_hand,
        reserved,
        sold,
        received: _,
    } = product.stock;
    StockChanged {
        product_id: product.id.clone(),
        on_hand,
        reserved,
        sold,
    }
}
