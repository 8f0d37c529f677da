//! The steps of the saga that are the order's own, and what happens elsewhere that concerns orders.

use contracts::{
    inventory::StockLow,
    order::{
        CancelOrder, ConfirmOrder, CreateOrder, Customer, OrderCancelled, OrderConfirmed,
        OrderCreated, OrderStatus, OrderStockLow,
    },
    user::UserUpdated,
};
use outrigger::prelude::*;

use crate::{
    domain::{Order, OrderEvent},
    store,
};

/// Writes the order down as PENDING.
pub async fn create_order(
    _: Context,
    tx: &mut Transaction,
    command: CreateOrder,
) -> Result<(), command::Error> {
    let order = tx.load::<Order>(&command.order_id).await?;
    let Some(event) = order.state.create(&command)? else {
        return Ok(());
    };
    append(tx, &command.order_id, order.version, event).await?;
    store::insert(tx, &command).await?;
    store::know(tx, &command.customer, command.customer_version).await?;
    let CreateOrder {
        order_id,
        customer,
        lines,
        total,
        ..
    } = command;
    tx.publish(OrderCreated {
        order_id,
        customer,
        lines,
        total,
    })?;
    Ok(())
}

/// Marks the order CONFIRMED.
pub async fn confirm_order(
    _: Context,
    tx: &mut Transaction,
    command: ConfirmOrder,
) -> Result<(), command::Error> {
    let order_id = command.order_id;
    let order = tx.load::<Order>(&order_id).await?;
    let Some(event) = order.state.confirm(contracts::now())? else {
        return Ok(());
    };
    append(tx, &order_id, order.version, event).await?;
    store::set_status(tx, &order_id, OrderStatus::Confirmed).await?;
    if let Some((customer, total)) = store::parties(tx, &order_id).await? {
        tx.publish(OrderConfirmed {
            order_id,
            customer,
            total,
        })?;
    }
    Ok(())
}

/// Marks the order CANCELLED. One that was never created is cancelled silently: nobody has heard of it.
pub async fn cancel_order(
    _: Context,
    tx: &mut Transaction,
    command: CancelOrder,
) -> Result<(), command::Error> {
    let order_id = command.order_id;
    let order = tx.load::<Order>(&order_id).await?;
    let Some(event) = order.state.cancel(contracts::now())? else {
        return Ok(());
    };
    append(tx, &order_id, order.version, event).await?;
    store::set_status(tx, &order_id, OrderStatus::Cancelled).await?;
    if let Some((customer, _)) = store::parties(tx, &order_id).await? {
        tx.publish(OrderCancelled { order_id, customer })?;
    }
    Ok(())
}

async fn append(
    tx: &mut Transaction,
    order_id: &str,
    version: u64,
    event: OrderEvent,
) -> Result<(), command::Error> {
    tx.append::<Order>(order_id, Expected::Version(version), &[event])
        .await?;
    Ok(())
}

/// Remembers a user's new name and address: the history shows them from now on.
pub async fn user_updated(
    _: Context,
    tx: &mut Transaction,
    event: UserUpdated,
) -> Result<(), BoxError> {
    let UserUpdated {
        user_id,
        email,
        name,
        version,
    } = event;
    store::know(
        tx,
        &Customer {
            user_id,
            email,
            name,
        },
        version,
    )
    .await?;
    Ok(())
}

/// Passes on that a product is running low, for each pending order of it.
pub async fn stock_low(_: Context, tx: &mut Transaction, event: StockLow) -> Result<(), BoxError> {
    let StockLow {
        product_id,
        product_name,
        on_hand,
        ..
    } = event;
    for (order_id, customer) in store::pending_of(tx, &product_id).await? {
        let (product_id, product_name) = (product_id.clone(), product_name.clone());
        tx.publish(OrderStockLow {
            order_id,
            customer,
            product_id,
            product_name,
            on_hand,
        })?;
    }
    Ok(())
}
