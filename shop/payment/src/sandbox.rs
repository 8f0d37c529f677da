//! A provider that moves no money, and does what the token of the charge asks for.
//!
//! | token | what happens |
//! |---|---|
//! | `tok_ok` | captured |
//! | `tok_declined` | declined |
//! | `tok_timeout` | never answers |
//! | `tok_flaky` | the first attempt breaks off, the second is captured |
//! | any other | declined: unknown |

use std::future::pending;

use crate::provider::{Charge, Provider, Unreachable, Verdict};

/// See the [module](self). It remembers nothing: what it says follows from what it is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sandbox;

impl Provider for Sandbox {
    async fn charge(&self, charge: &Charge, attempt: u32) -> Result<Verdict, Unreachable> {
        let declined = |reason: &str| Verdict::Declined {
            reason: reason.to_owned(),
        };
        match charge.token.as_str() {
            "tok_ok" => Ok(Verdict::Captured),
            "tok_declined" => Ok(declined("The payment was declined.")),
            "tok_timeout" => pending().await,
            "tok_flaky" if attempt == 1 => Err(Unreachable {
                reason: "the connection broke off".to_owned(),
            }),
            "tok_flaky" => Ok(Verdict::Captured),
            _ => Ok(declined("The payment method is unknown.")),
        }
    }

    async fn void(&self, _key: &str) -> Result<(), Unreachable> {
        Ok(())
    }

    async fn refund(&self, _key: &str) -> Result<(), Unreachable> {
        Ok(())
    }
}
