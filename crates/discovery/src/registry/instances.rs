//! The instances of a service, as they are known at a time.

use std::{ops::Deref, sync::Arc};

use crate::Instance;

/// The instances of a service by id, as they are known at a time; by default nothing is known yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Instances(Option<Arc<[Arc<Instance>]>>);

impl Instances {
    /// Whether it is known which there are, if only that there is none.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Whether both were told at once.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl FromIterator<Arc<Instance>> for Instances {
    fn from_iter<T: IntoIterator<Item = Arc<Instance>>>(instances: T) -> Self {
        Self(Some(instances.into_iter().collect()))
    }
}

impl Deref for Instances {
    type Target = [Arc<Instance>];

    fn deref(&self) -> &[Arc<Instance>] {
        self.0.as_deref().unwrap_or_default()
    }
}
