//! The order's own steps of the saga, and what it learns from others.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use contracts::{
    Currency, Money, PageRequest,
    inventory::{Line, StockLow},
    order::{CancelOrder, ConfirmOrder, CreateOrder, Customer, HistoryEntry, OrderStatus},
    user::UserUpdated,
};
use outrigger::prelude::*;
use shop_order::{
    history,
    messages::{cancel_order, confirm_order, create_order, stock_low, user_updated},
    store,
};
use testkit::TestEnvironment;

struct Orders {
    environment: TestEnvironment,
}

impl Orders {
    async fn open() -> Self {
        // Its own boundary names services that are not there, which a system does not allow.
        let others = [contracts::user::SERVICE, contracts::inventory::SERVICE];
        let system = System::new("test").service(shop_order::service());
        let system = others
            .into_iter()
            .fold(system, |all, name| all.service(Service::new(name)));
        let environment = TestEnvironment::of(system).only([contracts::order::SERVICE]);
        Self {
            environment: environment.start().await.unwrap(),
        }
    }

    fn ctx(&self) -> Context {
        self.environment
            .context(contracts::order::SERVICE)
            .unwrap()
            .clone()
    }

    async fn begin(&self) -> Transaction {
        self.ctx().db().begin().await.unwrap()
    }

    async fn create(&self, order_id: &str) -> Result<(), command::Error> {
        let mut tx = self.begin().await;
        create_order(self.ctx(), &mut tx, create(order_id)).await?;
        Ok(tx.commit().await?)
    }

    async fn confirm(&self, order_id: &str) -> Result<(), command::Error> {
        let mut tx = self.begin().await;
        let command = ConfirmOrder {
            order_id: order_id.to_owned(),
        };
        confirm_order(self.ctx(), &mut tx, command).await?;
        Ok(tx.commit().await?)
    }

    async fn cancel(&self, order_id: &str) -> Result<(), command::Error> {
        let mut tx = self.begin().await;
        cancel_order(
            self.ctx(),
            &mut tx,
            CancelOrder {
                order_id: order_id.to_owned(),
            },
        )
        .await?;
        Ok(tx.commit().await?)
    }

    async fn rename(&self, name: &str, version: i64) {
        let [user_id, email] = ["ada", "ada@example.com"].map(str::to_owned);
        let mut tx = self.begin().await;
        let event = UserUpdated {
            user_id,
            email,
            name: name.to_owned(),
            version,
        };
        user_updated(self.ctx(), &mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn status(&self, order_id: &str) -> Option<OrderStatus> {
        let order = store::find(self.ctx().db(), order_id).await.unwrap();
        order.map(|order| order.status)
    }

    /// The history once it has `count` orders.
    async fn history(&self, count: usize) -> Vec<HistoryEntry> {
        let look = async || {
            let page = PageRequest::default();
            let entries = history::list(self.ctx().db(), "ada", &page)
                .await
                .unwrap()
                .items;
            (entries.len() == count).then_some(entries)
        };
        self.environment
            .eventually("the history to follow", look)
            .await
            .unwrap()
    }

    async fn published(&self, kind: &str, count: usize) {
        let look = async || (self.environment.events(kind).len() == count).then_some(());
        self.environment.eventually(kind, look).await.unwrap();
    }
}

fn create(order_id: &str) -> CreateOrder {
    let [user_id, email, name] = ["ada", "ada@example.com", "Ada"].map(str::to_owned);
    let price = Money::new(9999, Currency::Eur);
    CreateOrder {
        order_id: order_id.to_owned(),
        customer: Customer {
            user_id,
            email,
            name,
        },
        customer_version: 1,
        lines: vec![Line {
            product_id: "lamp".to_owned(),
            quantity: 2,
            price,
        }],
        total: Money::new(19_998, Currency::Eur),
        placed_at: contracts::now(),
    }
}

fn low() -> StockLow {
    let (product_id, product_name) = ("lamp".to_owned(), "Desk lamp".to_owned());
    StockLow {
        product_id,
        product_name,
        on_hand: 5,
        threshold: 5,
    }
}

#[tokio::test]
async fn each_step_takes_effect_once() {
    let orders = Orders::open().await;
    for _ in 0..2 {
        orders.create("one").await.unwrap();
    }
    assert_eq!(orders.status("one").await, Some(OrderStatus::Pending));
    for _ in 0..2 {
        orders.confirm("one").await.unwrap();
    }
    assert_eq!(orders.status("one").await, Some(OrderStatus::Confirmed));
    let refused = orders.cancel("one").await;
    assert!(
        matches!(refused, Err(command::Error::Refused(_))),
        "{refused:?}"
    );
    orders.published("order.confirmed", 1).await;
    orders.published("order.created", 1).await;
}

#[tokio::test]
async fn an_order_cancelled_before_it_was_created_is_never_heard_of() {
    let orders = Orders::open().await;
    orders.cancel("one").await.unwrap();
    let refused = orders.create("one").await;
    assert!(
        matches!(refused, Err(command::Error::Refused(_))),
        "{refused:?}"
    );
    orders.create("two").await.unwrap();
    orders.published("order.created", 1).await;
    assert_eq!(orders.environment.events("order.cancelled"), []);
    assert_eq!(orders.history(1).await[0].order_id, "two");
}

#[tokio::test]
async fn the_history_has_the_newest_name_whatever_comes_first() {
    let orders = Orders::open().await;
    orders.rename("Ada King", 3).await;
    orders.create("one").await.unwrap();
    assert_eq!(
        orders.history(1).await[0].user_name,
        "Ada King",
        "the order's copy is older"
    );
    orders.rename("Ada", 2).await;
    assert_eq!(
        orders.history(1).await[0].user_name,
        "Ada King",
        "so is this event"
    );
    orders.rename("Countess Ada", 4).await;
    assert_eq!(orders.history(1).await[0].user_name, "Countess Ada");
}

#[tokio::test]
async fn low_stock_is_passed_on_for_pending_orders_only() {
    let orders = Orders::open().await;
    for order in ["one", "two", "three"] {
        orders.create(order).await.unwrap();
    }
    orders.confirm("two").await.unwrap();
    orders.cancel("three").await.unwrap();
    let mut tx = orders.begin().await;
    stock_low(orders.ctx(), &mut tx, low()).await.unwrap();
    tx.commit().await.unwrap();
    orders.published("order.stock.low", 1).await;
    assert_eq!(
        orders.environment.events("order.stock.low")[0].data["orderId"],
        "one"
    );
}
