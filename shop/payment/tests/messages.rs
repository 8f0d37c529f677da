//! Whatever comes twice, late or in the wrong order, the books show one payment and at most one refund of it.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use contracts::{
    Currency, Money,
    payment::{ChargePayment, Charged, PaymentStatus, RefundPayment},
};
use outrigger::prelude::*;
use shop_payment::{
    messages::{charge_payment, prepare_charge, prepare_refund, refund_payment},
    sandbox::Sandbox,
    store::{self, Entry},
};
use testkit::TestEnvironment;

struct Books {
    environment: TestEnvironment,
}

impl Books {
    async fn open() -> Self {
        let system = System::new("test").service(shop_payment::service());
        Self {
            environment: TestEnvironment::start(system).await.unwrap(),
        }
    }

    fn ctx(&self) -> Context {
        self.environment.context("payment-service").unwrap().clone()
    }

    async fn charge(&self, token: &str) -> Result<Charged, command::Error> {
        let settled = prepare_charge(Sandbox, self.ctx(), charge(token)).await?;
        let mut tx = self.ctx().db().begin().await?;
        let charged = charge_payment(self.ctx(), &mut tx, charge(token), settled).await;
        if !matches!(charged, Err(command::Error::Failed(_))) {
            tx.commit().await?;
        }
        charged
    }

    async fn refund(&self) -> Result<(), command::Error> {
        let refunded = prepare_refund(Sandbox, self.ctx(), refund()).await?;
        let mut tx = self.ctx().db().begin().await?;
        refund_payment(self.ctx(), &mut tx, refund(), refunded).await?;
        Ok(tx.commit().await?)
    }

    async fn status(&self) -> Option<PaymentStatus> {
        match store::find(self.ctx().db(), "order-1").await.unwrap() {
            Entry::Settled(payment) => Some(payment.status),
            Entry::Open | Entry::Withdrawn => None,
        }
    }

    async fn refunds(&self) -> i64 {
        let sql = "SELECT count(*) FROM refunds WHERE amount = 100";
        let row = self.ctx().db().query_one(sql, params![]).await.unwrap();
        row.unwrap().get(0).unwrap()
    }
}

fn charge(token: &str) -> ChargePayment {
    ChargePayment {
        order_id: "order-1".to_owned(),
        user_id: "ada".to_owned(),
        amount: Money::new(100, Currency::Eur),
        method: token.to_owned(),
    }
}

fn refund() -> RefundPayment {
    RefundPayment {
        order_id: "order-1".to_owned(),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, command::Error>) -> String {
    match result {
        Err(command::Error::Refused(failure)) => failure.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_charged_is_given_back_once() {
    let books = Books::open().await;
    let first = books.charge("tok_ok").await.unwrap();
    let again = books.charge("tok_ok").await.unwrap();
    assert_eq!(first, again, "one order, one payment");
    assert_eq!(books.status().await, Some(PaymentStatus::Captured));
    books.refund().await.unwrap();
    books.refund().await.unwrap();
    assert_eq!(
        (books.status().await, books.refunds().await),
        (Some(PaymentStatus::Refunded), 1)
    );
}

#[tokio::test]
async fn a_declined_payment_is_written_down_and_nothing_is_given_back() {
    let books = Books::open().await;
    assert_eq!(code(books.charge("tok_declined").await), "payment-declined");
    assert_eq!(
        code(books.charge("tok_ok").await),
        "payment-declined",
        "it was answered already"
    );
    books.refund().await.unwrap();
    assert_eq!(
        (books.status().await, books.refunds().await),
        (Some(PaymentStatus::Declined), 0)
    );
}

#[tokio::test]
async fn a_charge_after_its_refund_is_refused() {
    let books = Books::open().await;
    books.refund().await.unwrap();
    books.refund().await.unwrap();
    assert_eq!(code(books.charge("tok_ok").await), "payment-withdrawn");
    assert_eq!((books.status().await, books.refunds().await), (None, 0));
}

#[tokio::test]
async fn a_charge_overtaken_by_its_refund_is_not_kept() {
    let books = Books::open().await;
    let settled = prepare_charge(Sandbox, books.ctx(), charge("tok_ok"))
        .await
        .unwrap();
    books.refund().await.unwrap();
    let ctx = books.ctx();
    let mut tx = ctx.db().begin().await.unwrap();
    let overtaken = charge_payment(books.ctx(), &mut tx, charge("tok_ok"), settled).await;
    assert!(
        matches!(overtaken, Err(command::Error::Failed(_))),
        "it comes again"
    );
    tx.rollback().await.unwrap();
    assert_eq!(
        code(books.charge("tok_ok").await),
        "payment-withdrawn",
        "and is voided"
    );
}
