//! What a span says of every line inside it.

use std::{fmt, sync::Arc};

use tracing::field::{Field, Visit};

/// The two span fields that have a meaning, kept beside the span and inherited by its children.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels {
    pub(super) service: Option<Arc<str>>,
    pub(super) correlation_id: Option<Arc<str>>,
}

impl Visit for Labels {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "service" => self.service = Some(value.into()),
            "correlation_id" => self.correlation_id = Some(value.into()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "service" | "correlation_id") {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}
