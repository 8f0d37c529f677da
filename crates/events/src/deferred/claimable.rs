//! What a version of a service may handle of what its group has taken over.
//!
//! Several versions of a service work on the same rows during an update. One must not spend the attempts of an event
//! for which it has no handler, nor take it for handled because it knows nothing of the handler that has failed.

use data::Value;

use crate::{Handlers, pattern};

/// The part of `outrigger_deferred` that some handlers are for.
#[derive(Clone, Copy)]
pub(crate) struct Claimable<'h>(pub(crate) &'h Handlers);

impl Claimable<'_> {
    /// The SQL condition on a row, its parameters numbered from `first`: all handlers that it names are known, or, where
    /// any that matches will do, there is one; or its type is left out for good.
    pub(super) fn condition(&self, first: usize) -> (String, Vec<Value>) {
        let handlers = self.0;
        let types = handlers.types();
        let (of_type, mut values) = pattern::condition(types.iter().map(String::as_str), first);
        let left_out = handlers.left_out().iter().map(String::as_str);
        let (is_left_out, more) = pattern::condition(left_out, first + values.len());
        values.extend(more);
        // What is left of the names without those that are known.
        let mut unknown = "' ' || handlers || ' '".to_owned();
        for name in handlers.names() {
            unknown = format!("REPLACE({unknown}, ${}, ' ')", first + values.len());
            values.push(format!(" {name} ").into());
        }
        let condition = format!(
            "(CASE WHEN {is_left_out} THEN 1 WHEN handlers = '' AND ({of_type}) THEN 1
                   WHEN handlers <> '' AND TRIM({unknown}) = '' THEN 1 ELSE 0 END = 1)"
        );
        (condition, values)
    }
}
