//! Time that is over: nobody is charged for an order that nobody waits for any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use contracts::{Currency, Money, inventory::Line, order::Customer};
use order::place_order::PlaceOrder;
use outrigger::{System, saga};
use payment::{
    provider::{Charge, Provider, Unreachable, Verdict},
    sandbox::Sandbox,
};
use serde_json::json;
use testkit::TestEnvironment;

/// Enough for an order to come to its charge.
const LIMIT: Duration = Duration::from_secs(5);

/// The sandbox, counting charges and what is taken back of them.
#[derive(Clone, Default)]
struct Counting {
    charges: Arc<AtomicU32>,
    voids: Arc<AtomicU32>,
}

impl Provider for Counting {
    async fn charge(&self, charge: &Charge, attempt: u32) -> Result<Verdict, Unreachable> {
        self.charges.fetch_add(1, Relaxed);
        Sandbox.charge(charge, attempt).await
    }

    async fn void(&self, key: &str) -> Result<(), Unreachable> {
        self.voids.fetch_add(1, Relaxed);
        Sandbox.void(key).await
    }

    async fn refund(&self, key: &str) -> Result<(), Unreachable> {
        Sandbox.refund(key).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_expired_while_payment_was_away_is_never_made() {
    let provider = Counting::default();
    let system = System::new("shop")
        .service(user::service())
        .service(inventory::service())
        .service(payment::service_on(provider.clone()))
        .service(order::service())
        .service(notification::service())
        .gateway(include_str!("../gateway.toml"));
    let mut env = TestEnvironment::start(system).await.expect("it starts");
    let user = json!({ "id": "ada", "email": "ada@example.com", "name": "Ada" });
    let lamp = json!({ "id": "lamp", "name": "Lamp", "price": 99.99, "stock": 10 });
    for (path, body) in [("/users", user), ("/products", lamp)] {
        assert_eq!(env.post(path, body).await.expect("an answer").status, 201);
    }
    env.stop_service(contracts::payment::SERVICE)
        .await
        .expect("stopped");

    let price = Money::new(9999, Currency::Eur);
    let order = PlaceOrder {
        order_id: "order-1".to_owned(),
        customer: Customer {
            user_id: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
        },
        customer_version: 1,
        lines: vec![Line {
            product_id: "lamp".to_owned(),
            quantity: 1,
            price,
        }],
        total: price,
        payment_method: "tok_ok".to_owned(),
        placed_at: contracts::now(),
        request: None,
    };
    let ctx = env.context(contracts::order::SERVICE).expect("it runs");
    let (db, sagas) = (ctx.db().clone(), ctx.sagas().clone());
    let mut tx = db.begin().await.expect("begun");
    let started = sagas.start_within(&mut tx, "order-1", order, LIMIT).await;
    started.expect("started");
    tx.commit().await.expect("committed");
    env.eventually("its time is over", async || {
        let status = sagas.status("order-1").await.ok().flatten()?;
        (status.state == saga::State::Compensating).then_some(())
    })
    .await
    .expect("it is being undone");
    let journal = sagas.journal("order-1").await.expect("a journal");
    let charge = |entry: &saga::Entry| entry.to_string().contains("charge-payment");
    assert!(
        journal.iter().any(charge),
        "the charge was sent: {journal:?}"
    );

    env.start_service(contracts::payment::SERVICE)
        .await
        .expect("started");
    let end = sagas.wait("order-1", Duration::from_secs(20)).await;
    let end = end.expect("the saga");
    assert!(
        matches!(&end, Some(saga::Outcome::Compensated(failure)) if failure.code == "deadline"),
        "{end:?}"
    );
    assert_eq!(provider.charges.load(Relaxed), 0, "never asked to charge");
    assert!(
        provider.voids.load(Relaxed) > 0,
        "but to take back what it may have"
    );
    let lamp = env.get("/products/lamp").await.expect("an answer");
    assert_eq!(lamp.body["stock"], 10, "released");
    env.stop().await;
}
