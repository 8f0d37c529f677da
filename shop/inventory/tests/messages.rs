//! Whatever comes twice, late or in the wrong order, each piece is on the shelf, promised once, or sold.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use contracts::{
    Currency, Money,
    inventory::{Line, ReleaseItems, ReserveItems},
    order::{Customer, OrderConfirmed},
};
use outrigger::prelude::*;
use shop_inventory::{
    domain::{Product, Stock},
    messages::{order_confirmed, release_items, reserve_items},
    store,
};
use testkit::TestEnvironment;

const PRICE: Money = Money::new(9999, Currency::Eur);

struct Shelf {
    environment: TestEnvironment,
}

impl Shelf {
    /// A shelf with ten lamps and three desks.
    async fn filled() -> Self {
        let system = System::new("test").service(shop_inventory::service());
        let shelf = Self {
            environment: TestEnvironment::start(system).await.unwrap(),
        };
        let mut tx = shelf.begin().await;
        for (id, stock) in [("lamp", 10), ("desk", 3)] {
            let stock = Stock::received(stock);
            let (id, name) = (id.to_owned(), id.to_owned());
            let product = Product {
                id,
                name,
                price: PRICE,
                stock,
            };
            store::insert(&mut tx, &product, contracts::now())
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        shelf
    }

    fn ctx(&self) -> Context {
        self.environment
            .context("inventory-service")
            .unwrap()
            .clone()
    }

    async fn begin(&self) -> Transaction {
        self.ctx().db().begin().await.unwrap()
    }

    async fn reserve(&self, lines: &[(&str, u32)]) -> Result<(), command::Error> {
        let line = |(product, quantity): &(&str, u32)| Line {
            product_id: (*product).to_owned(),
            quantity: *quantity,
            price: PRICE,
        };
        let command = ReserveItems {
            order_id: order_id(),
            lines: lines.iter().map(line).collect(),
        };
        let mut tx = self.begin().await;
        let reserved = reserve_items(self.ctx(), &mut tx, command).await;
        // What a refused handler wrote commits, too.
        tx.commit().await?;
        reserved
    }

    async fn release(&self) -> Result<(), command::Error> {
        let mut tx = self.begin().await;
        let command = ReleaseItems {
            order_id: order_id(),
        };
        let released = release_items(self.ctx(), &mut tx, command).await;
        tx.commit().await?;
        released
    }

    async fn confirm(&self) -> Result<(), BoxError> {
        let text = || "ada".to_owned();
        let customer = Customer {
            user_id: text(),
            email: text(),
            name: text(),
        };
        let event = OrderConfirmed {
            order_id: order_id(),
            customer,
            total: PRICE,
        };
        let mut tx = self.begin().await;
        order_confirmed(self.ctx(), &mut tx, event).await?;
        Ok(tx.commit().await?)
    }

    /// How many of a product are on hand, reserved, and sold.
    async fn stock(&self, product: &str) -> (i64, i64, i64) {
        let mut tx = self.begin().await;
        let products = store::take(&mut tx, [product].into_iter()).await.unwrap();
        let stock = products[product].stock;
        assert!(stock.conserved(), "{stock:?}");
        (stock.on_hand, stock.reserved, stock.sold)
    }
}

fn order_id() -> String {
    "order-1".to_owned()
}

fn code(result: Result<(), command::Error>) -> String {
    match result {
        Err(command::Error::Refused(failure)) => failure.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn reserved_pieces_go_back_once() {
    let shelf = Shelf::filled().await;
    shelf.reserve(&[("lamp", 2), ("desk", 1)]).await.unwrap();
    shelf.reserve(&[("lamp", 2), ("desk", 1)]).await.unwrap();
    assert_eq!(
        (shelf.stock("lamp").await, shelf.stock("desk").await),
        ((8, 2, 0), (2, 1, 0))
    );
    shelf.release().await.unwrap();
    shelf.release().await.unwrap();
    assert_eq!(
        (shelf.stock("lamp").await, shelf.stock("desk").await),
        ((10, 0, 0), (3, 0, 0))
    );
}

#[tokio::test]
async fn a_refused_reservation_touches_nothing() {
    let shelf = Shelf::filled().await;
    let refused = shelf.reserve(&[("lamp", 2), ("desk", 4)]).await;
    assert_eq!(code(refused), "insufficient-inventory");
    assert_eq!(
        (shelf.stock("lamp").await, shelf.stock("desk").await),
        ((10, 0, 0), (3, 0, 0))
    );
}

#[tokio::test]
async fn a_reservation_after_its_release_is_refused() {
    let shelf = Shelf::filled().await;
    shelf.release().await.unwrap();
    assert_eq!(
        code(shelf.reserve(&[("lamp", 2)]).await),
        "reservation-released"
    );
    assert_eq!(shelf.stock("lamp").await, (10, 0, 0));
}

#[tokio::test]
async fn a_confirmed_order_is_sold_once_and_stays_sold() {
    let shelf = Shelf::filled().await;
    shelf.reserve(&[("lamp", 2)]).await.unwrap();
    shelf.confirm().await.unwrap();
    shelf.confirm().await.unwrap();
    assert_eq!(shelf.stock("lamp").await, (8, 0, 2));
    assert_eq!(code(shelf.release().await), "reservation-sold");
    assert_eq!(shelf.stock("lamp").await, (8, 0, 2));
}

#[tokio::test]
async fn a_confirmed_order_without_a_reservation_is_an_error() {
    let shelf = Shelf::filled().await;
    assert!(
        shelf.confirm().await.is_err(),
        "it must be seen, not passed over"
    );
}
