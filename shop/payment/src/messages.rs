//! Charging and refunding, as sagas ask for it.
//!
//! The provider is asked before the transaction, in the *prepare* step, because no network call belongs
//! inside one. A message that comes again asks it again; that is harmless, because the provider knows each
//! charge by the order's id. Between the two steps the books may have changed: then the transaction is given
//! up, the message comes again, and the provider is asked anew.

use contracts::payment::{
    ChargePayment, Charged, PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentStatus,
    RefundPayment,
};
use outrigger::{env, prelude::*};

use crate::{
    domain::{self, Payment},
    provider::{Charge, Provider, Settled, limited, settle},
    store::{self, Entry},
};

/// Asks the provider to charge; `None` where the books say that there is nothing to ask.
pub async fn prepare_charge<P: Provider>(
    provider: P,
    ctx: Context,
    command: ChargePayment,
) -> Result<Option<Settled>, BoxError> {
    match store::find(ctx.db(), &command.order_id).await? {
        Entry::Open => {
            let ChargePayment {
                order_id,
                amount,
                method,
                ..
            } = command;
            let charge = Charge {
                key: order_id,
                amount,
                token: method,
            };
            settle(&provider, &charge).await.map(Some)
        }
        Entry::Settled(_) => Ok(None),
        Entry::Withdrawn => {
            limited(provider.void(&command.order_id)).await?;
            Ok(None)
        }
    }
}

/// Writes down what the provider did, and answers the saga.
pub async fn charge_payment(
    _: Context,
    tx: &mut Transaction,
    command: ChargePayment,
    settled: Option<Settled>,
) -> Result<Charged, command::Error> {
    let payment = match (store::take(tx, &command.order_id).await?, settled) {
        (Entry::Settled(payment), _) => payment,
        (Entry::Withdrawn, None) => return Err(domain::withdrawn().into()),
        (Entry::Open, Some(settled)) => {
            let id = env::id().to_string();
            let payment = Payment::of(command, settled, id, contracts::now());
            store::insert(tx, &payment).await?;
            announce(tx, &payment)?;
            payment
        }
        (Entry::Withdrawn, Some(_)) | (Entry::Open, None) => {
            return Err(books_changed(&command.order_id).into());
        }
    };
    match payment.refusal {
        Some(refusal) => Err(refusal.into()),
        None => Ok(Charged {
            payment_id: payment.id,
        }),
    }
}

/// Asks the provider to give back what was captured; true when it has.
///
/// Where the books know of no charge, one may have been made by an attempt that did not come to their end, and that is
/// too late now to be made again: so the provider is asked to void it.
pub async fn prepare_refund<P: Provider>(
    provider: P,
    ctx: Context,
    command: RefundPayment,
) -> Result<bool, BoxError> {
    let order_id = &command.order_id;
    match store::find(ctx.db(), order_id).await? {
        Entry::Settled(payment) if payment.status == PaymentStatus::Captured => {
            limited(provider.refund(order_id)).await?;
            Ok(true)
        }
        Entry::Open => {
            limited(provider.void(order_id)).await?;
            Ok(false)
        }
        Entry::Settled(_) | Entry::Withdrawn => Ok(false),
    }
}

/// Writes down the refund. Where nothing was charged, it is remembered that nothing may be.
pub async fn refund_payment(
    _: Context,
    tx: &mut Transaction,
    command: RefundPayment,
    refunded: bool,
) -> Result<(), command::Error> {
    match store::take(tx, &command.order_id).await? {
        Entry::Open => store::withdraw(tx, &command.order_id, contracts::now()).await?,
        Entry::Withdrawn => {}
        Entry::Settled(payment) if payment.status != PaymentStatus::Captured => {}
        Entry::Settled(_) if !refunded => return Err(books_changed(&command.order_id).into()),
        Entry::Settled(payment) => {
            store::refund(tx, &payment, contracts::now()).await?;
            announce(
                tx,
                &Payment {
                    status: PaymentStatus::Refunded,
                    ..payment
                },
            )?;
        }
    }
    Ok(())
}

fn books_changed(order_id: &str) -> BoxError {
    format!("the books on order {order_id} changed while the provider was asked").into()
}

fn announce(tx: &mut Transaction, payment: &Payment) -> Result<(), BoxError> {
    let Payment {
        id,
        order_id,
        user_id,
        amount,
        status,
        refusal,
        ..
    } = payment.clone();
    let payment_id = id;
    match status {
        PaymentStatus::Captured => {
            tx.publish(PaymentCharged {
                payment_id,
                order_id,
                user_id,
                amount,
            })?;
        }
        PaymentStatus::Declined => {
            let reason = refusal.map(|refusal| refusal.detail).unwrap_or_default();
            tx.publish(PaymentDeclined {
                payment_id,
                order_id,
                user_id,
                amount,
                reason,
            })?;
        }
        PaymentStatus::Refunded => {
            tx.publish(PaymentRefunded {
                payment_id,
                order_id,
                user_id,
                amount,
            })?;
        }
    }
    Ok(())
}
