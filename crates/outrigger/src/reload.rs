//! Settings that hold without a restart: those of `[calls]`.
//!
//! What is guaranteed: a file that cannot be used is refused as a whole, with the key that is wrong in the log, and what
//! held before goes on holding; a call under way ends by the policies that it began with.

use std::{path::Path, sync::Arc};

use env::{chain, config::Watched};

use crate::{Platform, Settings, System};

impl System {
    /// Keeps the policies of calls on `platform` as the settings in `file` say, until it stops. A change holds within two
    /// seconds. A change of anything else is noted in the log, and holds from the next start on.
    pub fn follow(&self, platform: &Platform, file: &Path) {
        let mut watched = Watched::new(file);
        let mut known = Settings::load(file, []).unwrap_or_default();
        let (system, following) = (self.clone(), platform.clone());
        platform.spawn(async move {
            loop {
                watched.changed().await;
                let file = watched.path();
                match system.read(file) {
                    Ok(settings) => {
                        following.take_over(&known, &settings);
                        known = settings;
                    }
                    Err(reason) => tracing::error!(
                        file = %file.display(),
                        reason,
                        "the changed settings are refused; those from before stay"
                    ),
                }
            }
        });
    }

    fn read(&self, file: &Path) -> Result<Settings, String> {
        let settings = Settings::load(file, []).map_err(|error| chain(&error))?;
        self.check_callees(&settings)
            .map_err(|error| chain(&error))?;
        Ok(settings)
    }
}

impl Platform {
    fn take_over(&self, before: &Settings, now: &Settings) {
        let policies = now.calls.policies();
        let changed = self.policies().send_if_modified(|known| {
            let changed = **known != policies;
            *known = Arc::new(policies);
            changed
        });
        if changed {
            tracing::warn!("calls are made as the changed settings say");
        }
        let rest = |settings: &Settings| Settings {
            calls: Default::default(),
            ..settings.clone()
        };
        if rest(before) != rest(now) {
            tracing::warn!(
                "what was changed in the settings beside `calls` holds from the next start on"
            );
        }
    }
}
