//! Orders, each of which is unpaid while it is in the table, and the invariant that none is.

use outrigger::{
    Inspection, Settings,
    data::{Database, Value, params},
    invariant::Findings,
};

pub(crate) struct Orders(Database);

impl Orders {
    pub(crate) async fn open(settings: &Settings) -> Self {
        let url = settings.database_of("orders");
        let orders = Self(Database::open(url.reveal()).await.expect("opened"));
        let table = "CREATE TABLE unpaid (id TEXT PRIMARY KEY)";
        orders.change(table, &[]).await;
        orders
    }

    pub(crate) async fn place(&self, id: &str) {
        let place = "INSERT INTO unpaid VALUES ($1)";
        self.change(place, params![id]).await;
    }

    pub(crate) async fn pay(&self, id: &str) {
        let pay = "DELETE FROM unpaid WHERE id = $1";
        self.change(pay, params![id]).await;
    }

    pub(crate) async fn change(&self, sql: &str, params: &[Value]) {
        let mut tx = self.0.begin().await.expect("begun");
        tx.execute(sql, params).await.expect("done");
        tx.commit().await.expect("committed");
    }
}

pub(crate) async fn are_paid(view: Inspection) -> Result<(), Findings> {
    let unpaid = view.query("orders", "SELECT id FROM unpaid", &[]).await?;
    let ids = unpaid.iter().filter_map(|row| row.get::<String>(0).ok());
    ids.map(|id| (id, "not paid"))
        .collect::<Findings>()
        .into_result()
}
