//! What is watched at a registry elsewhere: each service is followed once, for as long as somebody listens.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Instances;
use crate::Instance;

/// Tells those who watch a service.
pub(super) type Told = Arc<watch::Sender<Instances>>;

/// The services that are watched. When this is gone, what was watched stays as it is.
pub(super) struct Watches {
    followed: Arc<Mutex<BTreeMap<String, Told>>>,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl Watches {
    pub(super) fn new() -> Self {
        let stop = CancellationToken::new();
        Self {
            followed: Arc::default(),
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Watches `service`. Where nobody does yet, what `follow` gives is run to tell of its changes: it never ends, and
    /// is dropped when nobody listens any more. Must be called within a runtime.
    pub(super) fn watch<F>(
        &self,
        service: &str,
        follow: impl FnOnce(Told) -> F,
    ) -> watch::Receiver<Instances>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = followed.get(service) {
            return told.subscribe();
        }
        let (told, seen) = watch::channel(Instances::default());
        let told = Arc::new(told);
        followed.insert(service.to_owned(), Arc::clone(&told));
        let following = follow(Arc::clone(&told));
        let (service, all) = (service.to_owned(), Arc::clone(&self.followed));
        let heard = async move {
            let mut following = pin!(following);
            loop {
                tokio::select! {
                    biased;
                    () = told.closed() => if forgotten(&all, &service, &told) { return },
                    () = &mut following => return,
                }
            }
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(heard));
        seen
    }

    /// The services that are watched and have an instance, by name.
    pub(super) fn with_instances(&self) -> Vec<String> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = followed
            .iter()
            .filter(|(_, told)| !told.borrow().is_empty());
        found.map(|(service, _)| service.clone()).collect()
    }
}

/// Whether nobody listens any more; then the next who does begins anew.
fn forgotten(all: &Mutex<BTreeMap<String, Told>>, service: &str, told: &Told) -> bool {
    let mut followed = all.lock().unwrap_or_else(PoisonError::into_inner);
    let forgotten = told.is_closed();
    if forgotten {
        followed.remove(service);
    }
    forgotten
}

/// Tells of `found`, if that is not what was told before: by id, and of each id one.
pub(super) fn tell(told: &Told, mut found: Vec<Instance>) {
    found.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    told.send_if_modified(|now| {
        let same = now.is_known() && now.iter().map(|known| &**known).eq(&found);
        if !same {
            *now = found.into_iter().map(Arc::new).collect();
        }
        !same
    });
}
