//! Whose database it is, and what that service may send.

use std::{collections::BTreeSet, sync::Arc};

/// The service that a database belongs to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) name: Arc<str>,
    /// The schemas of the messages that it has declared; `None` where nothing was declared.
    declared: Option<Arc<BTreeSet<String>>>,
    /// Bytes that a message may have.
    pub(crate) message_limit: usize,
}

/// 1 MiB, which is what buses take by default, without what they add to a message.
const MESSAGE_LIMIT: usize = (1024 - 16) * 1024;

impl Owner {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            declared: None,
            message_limit: MESSAGE_LIMIT,
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

    pub(crate) fn limiting(self, message_limit: usize) -> Self {
        Self {
            message_limit,
            ..self
        }
    }

    pub(crate) fn declares(&self, schema: &str) -> bool {
        self.declared
            .as_ref()
            .is_none_or(|declared| declared.contains(schema))
    }
}
