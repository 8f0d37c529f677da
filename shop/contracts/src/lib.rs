//! What the services of the shop say to each other, and nothing of how they do their work.
//!
//! One module for each service that publishes: its events, the commands that it takes, and the views that
//! it serves. A service depends on this crate and never on another service. The JSON of every message is
//! held by a file in `golden/` and its schema by one in `schemas/`; a change that would break an older reader shows up
//! there.
//!
//! Start at [`order`]: it is the story that the others serve.
//!
//! | module | subject |
//! |---|---|
//! | [`user`], [`inventory`], [`payment`], [`order`], [`notification`] | what each service says and takes |
//! | [`money`] | amounts: integers inside, decimals at the edge |
//! | [`field`], [`page`] | the values that requests are made of, and lists in pages |

pub mod field;
pub mod inventory;
pub mod money;
pub mod notification;
pub mod order;
pub mod page;
pub mod payment;
pub mod user;
mod word;

pub use field::{Id, Text, Whole};
pub use money::{Currency, Decimal, Money};
pub use page::{Cursor, Page, PageRequest};

/// Now, in the milliseconds in which the shop's databases keep time.
pub fn now() -> outrigger::env::Timestamp {
    let now = outrigger::env::now();
    let since_second = now.subsec_nanosecond() % 1_000_000;
    now - std::time::Duration::from_nanos(since_second.unsigned_abs().into())
}
