//! Instances that are known beforehand.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{Instances, Registry};
use crate::{Instance, Result};

/// Instances that are known beforehand and do not change.
pub struct StaticList(BTreeMap<String, watch::Sender<Instances>>);

impl StaticList {
    /// A list of these instances.
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        let mut services: BTreeMap<String, Vec<Arc<Instance>>> = BTreeMap::new();
        for instance in instances {
            services
                .entry(instance.service.clone())
                .or_default()
                .push(Arc::new(instance));
        }
        Self(
            services
                .into_iter()
                .map(|(name, list)| (name, watch::Sender::new(list.into_iter().collect())))
                .collect(),
        )
    }
}

impl Registry for StaticList {
    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.0.get(service).map_or_else(
            || watch::Sender::new(Instances::from_iter([])).subscribe(),
            watch::Sender::subscribe,
        )
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(self.0.keys().cloned().collect()) })
    }
}
