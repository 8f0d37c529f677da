//! Whose database it is, and what that service may send.

use std::{collections::BTreeSet, sync::Arc};

/// The service that a database belongs to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) name: Arc<str>,
    /// The schemas of the messages that it has declared; `None` where nothing was declared.
    declared: Option<Arc<BTreeSet<String>>>,
}

impl Owner {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            declared: None,
        }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    pub(crate) fn declaring(self, schemas: BTreeSet<String>) -> Self {
        Self {
            declared: Some(Arc::new(schemas)),
            ..self
        }
    }

    pub(crate) fn declares(&self, schema: &str) -> bool {
        self.declared
            .as_ref()
            .is_none_or(|declared| declared.contains(schema))
    }
}
