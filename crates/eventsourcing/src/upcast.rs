//! Events of earlier forms, brought to the present one while they are read. What is stored never changes.

use serde_json::Value;

use crate::{Error, Recorded, Result};

/// One step: from one schema version of a type to the next.
///
/// A type that has steps is written in the version after its last one. Steps are kept for as long as there are events
/// of their version; they are chained, so each knows two versions only.
///
/// ```
/// # use outrigger_eventsourcing as eventsourcing;
/// use eventsourcing::{Aggregate, Upcaster};
/// use serde_json::json;
///
/// const UPCASTERS: &[Upcaster] = &[
///     // 1 -> 2: amounts got a currency.
///     Upcaster::new("Deposited", 1, |data| json!({ "amount": data["amount"], "currency": "EUR" })),
///     // 2 -> 3: and a better name.
///     Upcaster::new("Deposited", 2, |data| data).renamed("Credited"),
/// ];
/// # #[derive(Default)] struct Account;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # #[serde(tag = "type", content = "data")]
/// # enum AccountEvent { Credited { amount: i64, currency: String } }
///
/// impl Aggregate for Account {
///     const KIND: &'static str = "account";
///     const UPCASTERS: &'static [Upcaster] = UPCASTERS;
/// #     type Event = AccountEvent;
/// #     fn apply(&mut self, _: &AccountEvent) {}
///     // …
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    name: &'static str,
    from: u32,
    becomes: &'static str,
    upcast: fn(Value) -> Value,
}

impl Upcaster {
    /// From version `from` of the type `name` to the next version. `upcast` makes the new data of the old and nothing
    /// else: it looks at no clock and asks nobody. The data of a variant without any is `null`.
    pub const fn new(name: &'static str, from: u32, upcast: fn(Value) -> Value) -> Self {
        Self {
            name,
            from,
            becomes: name,
            upcast,
        }
    }

    /// The type has another name from then on. Its versions are counted on.
    #[must_use]
    pub const fn renamed(self, becomes: &'static str) -> Self {
        Self { becomes, ..self }
    }
}

/// The version in which the type `name` is written.
pub(crate) fn current(upcasters: &[Upcaster], name: &str) -> u32 {
    let steps = upcasters.iter().filter(|step| step.becomes == name);
    steps.map(|step| step.from + 1).max().unwrap_or(1)
}

/// The type and data of an event in the present form; `None` where it is stored in it.
pub(crate) fn upcast(
    upcasters: &'static [Upcaster],
    event: &Recorded,
) -> Result<Option<(&'static str, Value)>> {
    let step = |name: &str, schema: u32| {
        upcasters
            .iter()
            .find(|step| step.name == name && step.from == schema)
    };
    let Some(first) = step(&event.name, event.schema) else {
        check(upcasters, event, &event.name, event.schema)?;
        return Ok(None);
    };
    let mut data = match &event.data {
        Some(data) => serde_json::from_str(data).map_err(|source| event.unreadable(source))?,
        None => Value::Null,
    };
    let mut last = first;
    loop {
        data = (last.upcast)(data);
        match step(last.becomes, last.from + 1) {
            Some(next) => last = next,
            None => break,
        }
    }
    check(upcasters, event, last.becomes, last.from + 1)?;
    Ok(Some((last.becomes, data)))
}

/// Whether `event`, as far as it could be brought, is in the present form.
fn check(upcasters: &[Upcaster], event: &Recorded, name: &str, reached: u32) -> Result<()> {
    let known = current(upcasters, name);
    if reached == known {
        return Ok(());
    }
    Err(Error::SchemaVersion {
        stream: event.stream.clone(),
        version: event.version,
        name: event.name.clone(),
        stored: event.schema,
        reached,
        known,
    })
}
