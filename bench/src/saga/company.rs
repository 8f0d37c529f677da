//! Our side: three services, each with a database, that meet on a bus.

use std::{sync::Arc, time::Duration};

use data::{Database, Migration, Transaction, params};
use events::{Bus, Handlers, JsonSchema, consumer, relay, schemars};
use saga::{Command, Failure, Input, Outcome, Saga, Sagas, command};
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::Result;

/// Who takes part; the first has the sagas.
pub const SERVICES: [&str; 3] = ["order-service", "inventory-service", "payment-service"];

/// How long a saga may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("inventory-service", "reserve-items", crate = saga)]
struct ReserveItems {
    order_id: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("inventory-service", "release-items", crate = saga)]
struct ReleaseItems {
    order_id: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("payment-service", "charge-payment", crate = saga)]
struct ChargePayment {
    order_id: String,
    declined: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("order-service", "confirm-order", crate = saga)]
struct ConfirmOrder {
    order_id: String,
}

#[derive(Serialize, Deserialize)]
struct PlaceOrder {
    order_id: String,
    declined: bool,
}

impl Input for PlaceOrder {
    const SAGA: &'static str = "place-order";
}

async fn place_order(saga: Saga, order: PlaceOrder) -> Result<(), Failure> {
    let order_id = || order.order_id.clone();
    saga.call(ReserveItems {
        order_id: order_id(),
    })
    .undo(ReleaseItems {
        order_id: order_id(),
    })
    .await?;
    let declined = order.declined;
    saga.call(ChargePayment {
        order_id: order_id(),
        declined,
    })
    .await?;
    saga.call(ConfirmOrder {
        order_id: order_id(),
    })
    .await
}

const TABLES: &[Migration] = &[Migration::new(
    1,
    "what was done",
    "CREATE TABLE done (order_id TEXT PRIMARY KEY, what TEXT NOT NULL)",
)];

async fn note(tx: &mut Transaction, order_id: &str, what: &str) -> Result<(), command::Error> {
    let note = "INSERT INTO done (order_id, what) VALUES ($1, $2)";
    tx.execute(note, params![order_id, what]).await?;
    Ok(())
}

async fn reserve(tx: &mut Transaction, it: ReserveItems) -> Result<(), command::Error> {
    note(tx, &it.order_id, "reserved").await
}

async fn release(tx: &mut Transaction, it: ReleaseItems) -> Result<(), command::Error> {
    let release = "DELETE FROM done WHERE order_id = $1";
    tx.execute(release, params![it.order_id]).await?;
    Ok(())
}

async fn charge(tx: &mut Transaction, it: ChargePayment) -> Result<(), command::Error> {
    if it.declined {
        return Err(Failure::new("declined", "The payment was declined.").into());
    }
    note(tx, &it.order_id, "charged").await
}

async fn confirm(tx: &mut Transaction, it: ConfirmOrder) -> Result<(), command::Error> {
    note(tx, &it.order_id, "confirmed").await
}

/// The running services, until dropped.
pub struct Company {
    orders: Database,
    sagas: Sagas,
    _running: Vec<AbortOnDropHandle<()>>,
}

impl Company {
    /// On a bus, and on databases in the order of [`SERVICES`].
    pub async fn open(bus: Arc<dyn Bus>, databases: &[String]) -> Result<Self> {
        let mut opened = Vec::new();
        for (service, url) in SERVICES.into_iter().zip(databases) {
            let db = Database::open(url).await?.owned_by(service);
            db.migrate(TABLES).await?;
            events::install(&db).await?;
            opened.push(db);
        }
        let [orders, inventory, payment] = <[Database; 3]>::try_from(opened)
            .map_err(|opened| format!("{} databases for three services", opened.len()))?;
        let sagas = Sagas::open(orders.clone()).await?;
        sagas.register(place_order);
        let ordering = sagas.handlers(Handlers::new());
        let reserving = command::handle::<ReserveItems, _>(Handlers::new(), reserve);
        let parts = [
            (&orders, sagas.command::<ConfirmOrder, _>(ordering, confirm)),
            (
                &inventory,
                command::handle::<ReleaseItems, _>(reserving, release),
            ),
            (
                &payment,
                command::handle::<ChargePayment, _>(Handlers::new(), charge),
            ),
        ];
        let mut running: Vec<_> = parts
            .into_iter()
            .flat_map(|(db, handlers)| serve(db, &bus, handlers))
            .collect();
        let timers = sagas.clone();
        running.push(background(async move {
            timers.run_timers(CancellationToken::new()).await;
        }));
        Ok(Self {
            orders,
            sagas,
            _running: running,
        })
    }

    /// Starts a saga and waits for its end.
    pub async fn place(&self, number: usize) -> Result<()> {
        let order_id = env::id().to_string();
        let declined = number.is_multiple_of(10);
        let order = PlaceOrder {
            order_id: order_id.clone(),
            declined,
        };
        let mut tx = self.orders.begin().await?;
        self.sagas.start(&mut tx, &order_id, order).await?;
        tx.commit().await?;
        match self.sagas.wait(&order_id, PATIENCE).await? {
            Some(Outcome::Completed) if !declined => Ok(()),
            Some(Outcome::Compensated(_)) if declined => Ok(()),
            other => Err(format!("the order {number} ended so: {other:?}").into()),
        }
    }
}

/// What a service consists of beside its database: the consumer and the relay.
fn serve(db: &Database, bus: &Arc<dyn Bus>, handlers: Handlers) -> [AbortOnDropHandle<()>; 2] {
    let (source, to) = (db.clone(), Arc::clone(bus));
    let relaying = background(async move {
        relay::run(
            source,
            to,
            relay::Options::default(),
            CancellationToken::new(),
        )
        .await;
    });
    let (db, bus) = (db.clone(), Arc::clone(bus));
    let consuming = background(async move {
        let (service, stop) = (db.owner().to_owned(), CancellationToken::new());
        let options = consumer::Options::default();
        if let Err(error) = consumer::run(db, bus, &service, handlers, options, stop).await {
            eprintln!("{service} handles nothing any more: {error}");
        }
    });
    [relaying, consuming]
}

fn background(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}
