//! Payments: taking the price of an order, and giving it back.

pub mod api;
pub mod domain;
pub mod messages;
pub mod provider;
pub mod sandbox;
pub mod store;

use contracts::payment::{
    ChargePayment, PaymentCharged, PaymentDeclined, PaymentRefunded, RefundPayment,
};
use outrigger::prelude::*;

use crate::{provider::Provider, sandbox::Sandbox};

/// payment-service on the [sandbox].
pub fn service() -> Service {
    service_on(Sandbox)
}

/// payment-service on `provider`.
pub fn service_on<P: Provider>(provider: P) -> Service {
    let refunds = provider.clone();
    Service::new(contracts::payment::SERVICE)
        .version(env!("CARGO_PKG_VERSION"))
        .boundary(
            Boundary::of("payments")
                .responsible_for("that an order is paid once, and a cancelled one not at all")
                .owns(["payments", "refunds", "withdrawals"])
                .apis(["/payments"]),
        )
        .migrations(store::MIGRATIONS)
        .routes(api::routes())
        .publishes::<PaymentCharged>()
        .publishes::<PaymentDeclined>()
        .publishes::<PaymentRefunded>()
        .command_prepared::<ChargePayment, _, _, _, _>(
            move |ctx, command, _| messages::prepare_charge(provider.clone(), ctx, command),
            messages::charge_payment,
        )
        .command_prepared::<RefundPayment, _, _, _, _>(
            move |ctx, command, _| messages::prepare_refund(refunds.clone(), ctx, command),
            messages::refund_payment,
        )
}
