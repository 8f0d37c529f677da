//! What must be true of the shop's data, whatever fails.
//!
//! Some of it is within one database and holds at every instant; the rest joins several and holds once the
//! system has come to rest. The simulation, the crash test and `shop audit` check the same functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use order::place_order::PlaceOrder;
use outrigger::{
    data::FromValue,
    invariant::{BUS, Findings},
    prelude::*,
};

type Check = Result<(), Findings>;

/// Stock on hand + reserved + sold = stock ever received, and nothing is below zero.
pub async fn stock_is_conserved(view: Inspection) -> Check {
    let sql = "SELECT id FROM products
               WHERE on_hand + reserved + sold <> received
                  OR on_hand < 0 OR reserved < 0 OR sold < 0";
    none(&view, contracts::inventory::SERVICE, sql).await
}

/// What a product has reserved and sold is the sum of what its orders hold and bought.
pub async fn stock_has_its_orders(view: Inspection) -> Check {
    let sql = "SELECT p.id FROM products p
               LEFT JOIN reservation_items i ON i.product_id = p.id
               LEFT JOIN reservations r ON r.order_id = i.order_id
               GROUP BY p.id, p.reserved, p.sold
               HAVING p.reserved <> sum(CASE r.state WHEN 'held' THEN i.quantity ELSE 0 END)
                   OR p.sold <> sum(CASE r.state WHEN 'sold' THEN i.quantity ELSE 0 END)";
    none(&view, contracts::inventory::SERVICE, sql).await
}

/// A refunded payment has its one refund of the same amount, and no other payment has one.
pub async fn refunds_match(view: Inspection) -> Check {
    let sql = "SELECT p.order_id FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id
               WHERE (p.status = 'REFUNDED') <> (r.payment_id IS NOT NULL)
                  OR r.amount <> p.amount";
    none(&view, contracts::payment::SERVICE, sql).await
}

/// An order was created once, in its stream, in what the service has to say and on the bus (where that is the embedded one,
/// which can be looked into), and ended at most once.
pub async fn orders_begin_and_end_once(view: Inspection) -> Check {
    let stored = "SELECT stream FROM outrigger_events WHERE stream LIKE 'order/%' GROUP BY stream
                  HAVING sum(CASE type WHEN 'Created' THEN 1 ELSE 0 END) > 1
                      OR sum(CASE type WHEN 'Created' THEN 0 ELSE 1 END) > 1";
    let said = "SELECT key FROM outrigger_outbox WHERE topic = 'order.created'
                GROUP BY key HAVING count(*) > 1";
    let published = "SELECT key FROM log WHERE type = 'order.created'
                     GROUP BY key HAVING count(*) > 1";
    none(&view, contracts::order::SERVICE, stored).await?;
    none(&view, contracts::order::SERVICE, said).await?;
    none(&view, BUS, published).await
}

/// A request with a key placed one order at most, however often it was sent. The shop's gateway is the only one who
/// orders, so a key is one request's.
pub async fn a_request_places_one_order(view: Inspection) -> Check {
    let sql = "SELECT input FROM outrigger_sagas WHERE saga = 'place-order'";
    let rows = view.query(contracts::order::SERVICE, sql, &[]).await?;
    let mut requests = BTreeSet::new();
    for row in rows {
        let input: String = row.get(0).map_err(|error| error.to_string())?;
        let order: PlaceOrder = serde_json::from_str(&input).map_err(|error| error.to_string())?;
        if let Some(request) = order.request
            && !requests.insert(request.clone())
        {
            return Err(format!(
                "the request {request} placed order {} and another one",
                order.order_id
            )
            .into());
        }
    }
    Ok(())
}

/// What was decided on a request with a key was begun with the same commit: the saga of its order is there.
pub async fn what_is_decided_is_begun(view: Inspection) -> Check {
    let decided = "SELECT decision FROM outrigger_idempotency WHERE decision IS NOT NULL";
    let begun = "SELECT id, 1 FROM outrigger_sagas";
    let decisions = view.query(contracts::order::SERVICE, decided, &[]).await?;
    let sagas = amounts(&view, contracts::order::SERVICE, begun).await?;
    let mut lost = Vec::new();
    for row in decisions {
        let decision: String = row.get(0).map_err(|error| error.to_string())?;
        let order: PlaceOrder =
            serde_json::from_str(&decision).map_err(|error| error.to_string())?;
        if !sagas.contains_key(&order.order_id) {
            lost.push((order.order_id, "was decided and never begun"));
        }
    }
    lost.into_iter().collect::<Findings>().into_result()
}

/// A user who has changed is known to the order service as the user service knows them.
pub async fn customers_are_known(view: Inspection) -> Check {
    const CHANGED: &str = "SELECT id, name || ' ' || email FROM users WHERE version > 1";
    const KNOWN: &str = "SELECT user_id, name || ' ' || email FROM customers";
    let changed = texts(&view, contracts::user::SERVICE, CHANGED).await?;
    let mut known = texts(&view, contracts::order::SERVICE, KNOWN).await?;
    known.retain(|id, _| changed.contains_key(id));
    same("is", &changed, "known as", &known)
}

/// No order is pending any more.
pub async fn orders_have_ended(view: Inspection) -> Check {
    let sql = "SELECT id FROM orders WHERE status = 'PENDING'";
    none(&view, contracts::order::SERVICE, sql).await
}

/// What is captured and not refunded is the total of the confirmed orders, order by order: none is confirmed
/// without its charge, and no charge outlives a cancelled one.
pub async fn confirmed_is_paid(view: Inspection) -> Check {
    let orders = "SELECT id, total FROM orders WHERE status = 'CONFIRMED'";
    let payments = "SELECT order_id, amount FROM payments WHERE status = 'CAPTURED'";
    let confirmed = amounts(&view, contracts::order::SERVICE, orders).await?;
    let captured = amounts(&view, contracts::payment::SERVICE, payments).await?;
    same("confirmed", &confirmed, "captured", &captured)
}

/// What is sold is what the confirmed orders have, piece by piece, and nothing is held for anyone.
pub async fn confirmed_is_sold(view: Inspection) -> Check {
    let orders = "SELECT o.id || ' ' || i.product_id, i.quantity
                  FROM orders o JOIN order_items i ON i.order_id = o.id
                  WHERE o.status = 'CONFIRMED'";
    let reservations = "SELECT r.order_id || ' ' || i.product_id, i.quantity
                        FROM reservations r JOIN reservation_items i ON i.order_id = r.order_id
                        WHERE r.state = 'sold'";
    let held = "SELECT order_id FROM reservations WHERE state = 'held'";
    let confirmed = amounts(&view, contracts::order::SERVICE, orders).await?;
    let sold = amounts(&view, contracts::inventory::SERVICE, reservations).await?;
    same("confirmed", &confirmed, "sold", &sold)?;
    none(&view, contracts::inventory::SERVICE, held).await
}

/// The customer was told once that the order was created, and once how it ended.
pub async fn states_are_told(view: Inspection) -> Check {
    let states = "SELECT 'order.created:' || id, 1 FROM orders
                  UNION ALL
                  SELECT 'order.' || lower(status) || ':' || id, 1 FROM orders
                  WHERE status <> 'PENDING'";
    let notices = "SELECT id, 1 FROM notifications
                   WHERE about IN ('order.created', 'order.confirmed', 'order.cancelled')";
    let states = amounts(&view, contracts::order::SERVICE, states).await?;
    let told = amounts(&view, contracts::notification::SERVICE, notices).await?;
    same("happened", &states, "told", &told)
}

/// The history, made from the events, says of each order what the order says.
pub async fn history_is_true(view: Inspection) -> Check {
    let sql = "SELECT o.id FROM orders o LEFT JOIN order_history h ON h.order_id = o.id
               WHERE h.order_id IS NULL OR h.status <> o.status OR h.total <> o.total
                  OR h.user_id <> o.user_id";
    none(&view, contracts::order::SERVICE, sql).await
}

/// Fails of every row that `sql` finds, by its first column.
async fn none(view: &Inspection, service: &str, sql: &str) -> Check {
    let rows = view.query(service, sql, &[]).await?;
    let names = rows.iter().map(|row| row.get::<String>(0));
    let names: Vec<_> = names
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let reason = format!("{service} says otherwise");
    let found = names.into_iter().map(|name| (name, reason.clone()));
    found.collect::<Findings>().into_result()
}

/// Reads a name and a number from each row.
async fn amounts(
    view: &Inspection,
    service: &str,
    sql: &str,
) -> Result<BTreeMap<String, i64>, String> {
    pairs(view, service, sql).await
}

/// Reads a name and a text from each row.
async fn texts(
    view: &Inspection,
    service: &str,
    sql: &str,
) -> Result<BTreeMap<String, String>, String> {
    pairs(view, service, sql).await
}

async fn pairs<T: FromValue>(
    view: &Inspection,
    service: &str,
    sql: &str,
) -> Result<BTreeMap<String, T>, String> {
    let rows = view.query(service, sql, &[]).await?;
    let pair = |row: &Row| Ok((row.get(0)?, row.get(1)?));
    rows.iter()
        .map(pair)
        .collect::<Result<_, outrigger::data::Error>>()
        .map_err(|error| error.to_string())
}

/// Fails of every name of which two tellings differ.
fn same<T: PartialEq + Debug>(
    left: &str,
    ours: &BTreeMap<String, T>,
    right: &str,
    theirs: &BTreeMap<String, T>,
) -> Check {
    let names = ours.keys().chain(theirs.keys());
    let differ = names.filter(|name| ours.get(*name) != theirs.get(*name));
    let found = differ.map(|name| {
        let (ours, theirs) = (ours.get(name), theirs.get(name));
        (name, format!("{left} {ours:?}, {right} {theirs:?}"))
    });
    found.collect::<Findings>().into_result()
}
