//! Watching over a running system raises an alert for what stays broken, and for nothing else.

mod orders;

use std::time::Duration;

use orders::Orders;
use outrigger::{
    Inspection, Service, Settings, System,
    invariant::{Alert, Watch},
};
use tempfile::TempDir;

const STALENESS: Duration = Duration::from_mins(5);

struct Shop {
    orders: Orders,
    system: System,
    settings: Settings,
    watch: Watch,
    _folder: TempDir,
}

impl Shop {
    async fn with(staleness: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            data: folder.path().to_owned(),
            ..Settings::default()
        };
        let orders = Orders::open(&settings).await;
        let system = System::new("shop")
            .service(Service::new("orders"))
            .invariant("orders are paid", staleness, orders::are_paid);
        Self {
            orders,
            watch: Watch::of(&system),
            system,
            settings,
            _folder: folder,
        }
    }

    /// Looks, and says what is found; `None` without an alert.
    async fn look(&mut self) -> Option<String> {
        let view = Inspection::of(&self.system, &self.settings)
            .await
            .expect("opened");
        let alerts = self.watch.look(&view).await;
        assert!(alerts.len() <= 1);
        alerts.first().map(Alert::to_string)
    }
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

#[tokio::test(start_paused = true)]
async fn what_stays_broken_for_longer_than_it_may_is_told_once_and_so_is_its_end() {
    let mut shop = Shop::with(STALENESS).await;
    shop.orders.place("1").await;
    assert_eq!(shop.look().await, None, "it may be so for a while");
    pass(STALENESS - Duration::from_secs(1)).await;
    shop.orders.place("2").await;
    assert_eq!(shop.look().await, None);
    pass(Duration::from_secs(1)).await;
    let told = "broken: orders are paid: 1: not paid";
    assert_eq!(
        shop.look().await.as_deref(),
        Some(told),
        "order 2 is not late"
    );
    pass(Duration::from_secs(1)).await;
    assert_eq!(shop.look().await, None, "it was told");
    shop.orders.pay("1").await;
    let told = "holds again: orders are paid";
    assert_eq!(shop.look().await.as_deref(), Some(told));
    shop.orders.pay("2").await;
    assert_eq!(shop.look().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_breaks_while_something_else_stays_broken_is_told_too() {
    let mut shop = Shop::with(STALENESS).await;
    shop.orders.place("1").await;
    assert_eq!(shop.look().await, None);
    pass(STALENESS).await;
    assert!(shop.look().await.is_some());
    // A day later, and nobody has mended order 1.
    pass(Duration::from_hours(24)).await;
    shop.orders.place("2").await;
    assert_eq!(shop.look().await, None);
    pass(STALENESS).await;
    let told = "broken: orders are paid: 2: not paid";
    assert_eq!(shop.look().await.as_deref(), Some(told));
    shop.orders.pay("1").await;
    assert_eq!(shop.look().await, None, "order 2 is as it was");
    shop.orders.pay("2").await;
    let told = "holds again: orders are paid";
    assert_eq!(shop.look().await.as_deref(), Some(told));
}

#[tokio::test(start_paused = true)]
async fn one_thing_after_the_other_that_is_behind_raises_no_alert() {
    let mut shop = Shop::with(STALENESS).await;
    for order in 0..10 {
        shop.orders.place(&order.to_string()).await;
        assert_eq!(shop.look().await, None, "at order {order}");
        pass(STALENESS).await;
        shop.orders.pay(&order.to_string()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_never_be_is_told_when_it_was_seen_twice() {
    let mut shop = Shop::with(Duration::ZERO).await;
    shop.orders.place("1").await;
    assert_eq!(
        shop.look().await,
        None,
        "a look may fall between two commits"
    );
    assert!(shop.look().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_database_that_cannot_be_looked_into_breaks_nothing_and_mends_nothing() {
    let mut shop = Shop::with(Duration::ZERO).await;
    shop.orders.place("1").await;
    assert_eq!(shop.look().await, None);
    let rename = async |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        shop.orders.change(&sql, &[]).await;
    };
    rename("unpaid", "away").await;
    let view = Inspection::of(&shop.system, &shop.settings)
        .await
        .expect("opened");
    assert_eq!(shop.watch.look(&view).await, []);
    assert_eq!(shop.watch.look(&view).await, []);
    rename("away", "unpaid").await;
    assert!(shop.look().await.is_some(), "as broken as before");
}
