//! However the provider behaves, it is known in bounded time whether money was taken.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use contracts::{Currency, Money};
use shop_payment::{
    provider::{
        ATTEMPT_LIMIT, ATTEMPTS, Charge, PAUSE, Provider, Settled, Unreachable, Verdict, settle,
    },
    sandbox::Sandbox,
};

/// The sandbox, counting what it is asked; with `reachable` false nothing but charges arrives there.
#[derive(Clone)]
struct Counting {
    charges: Arc<AtomicU32>,
    voids: Arc<AtomicU32>,
    reachable: bool,
}

impl Counting {
    fn new() -> Self {
        Self {
            charges: Arc::default(),
            voids: Arc::default(),
            reachable: true,
        }
    }
}

impl Provider for Counting {
    async fn charge(&self, charge: &Charge, attempt: u32) -> Result<Verdict, Unreachable> {
        self.charges.fetch_add(1, Relaxed);
        Sandbox.charge(charge, attempt).await
    }

    async fn void(&self, key: &str) -> Result<(), Unreachable> {
        self.voids.fetch_add(1, Relaxed);
        if self.reachable {
            Sandbox.void(key).await
        } else {
            Err(Unreachable {
                reason: "it is gone".to_owned(),
            })
        }
    }

    async fn refund(&self, key: &str) -> Result<(), Unreachable> {
        Sandbox.refund(key).await
    }
}

fn charge(token: &str) -> Charge {
    let amount = Money::new(100, Currency::Eur);
    Charge {
        key: "order-1".to_owned(),
        amount,
        token: token.to_owned(),
    }
}

async fn settled(token: &str) -> (Settled, u32, u32) {
    let provider = Counting::new();
    let settled = settle(&provider, &charge(token)).await.unwrap();
    (
        settled,
        provider.charges.load(Relaxed),
        provider.voids.load(Relaxed),
    )
}

#[tokio::test(start_paused = true)]
async fn the_sandbox_does_what_its_tokens_say() {
    assert_eq!(settled("tok_ok").await, (Settled::Captured, 1, 0));
    assert_eq!(settled("tok_flaky").await, (Settled::Captured, 2, 0));
    assert_eq!(
        settled("tok_timeout").await,
        (Settled::TimedOut, ATTEMPTS, 1)
    );
    for token in ["tok_declined", "tok_what"] {
        let (settled, charges, voids) = settled(token).await;
        assert!(matches!(settled, Settled::Declined { .. }), "{token}");
        assert_eq!(
            (charges, voids),
            (1, 0),
            "a no is an answer: it is not asked again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_within_the_limit() {
    let before = outrigger::env::instant();
    settled("tok_timeout").await;
    assert_eq!(before.elapsed(), ATTEMPT_LIMIT * ATTEMPTS + PAUSE * 3);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_voided_is_not_settled() {
    let provider = Counting {
        reachable: false,
        ..Counting::new()
    };
    assert!(settle(&provider, &charge("tok_timeout")).await.is_err());
    assert_eq!(provider.voids.load(Relaxed), 1);
}
