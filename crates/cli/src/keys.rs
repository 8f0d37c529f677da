//! `keys`: the keys that service tokens are signed with.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use outrigger::{
    env,
    identity::{Keyring, LEEWAY},
};
use serde_json::json;

use crate::{Error, Global, Output, say, settings::Data};

/// Change the keys that service tokens are signed with
#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a new key; no process is restarted, and no token that is good stops being so
    ///
    /// It is published first, so that every process that runs has read it (`security.refresh`) before it signs. The one before
    /// is trusted until the last token that it signed has expired. Where each machine has a file of its own, copy it to the
    /// others before the new key signs.
    #[command(after_help = "Example:\n  shop keys rotate --data /var/lib/shop")]
    Rotate {
        #[command(flatten)]
        data: Data,
    },
}

impl Keys {
    pub(crate) fn run(self, global: &Global) -> Result<ExitCode, Error> {
        let Action::Rotate { data } = self.action;
        let settings = data.settings(global)?;
        let keyring = Keyring::load(&settings.keys_file()).map_err(Error::Keys)?;
        let ahead = 2 * settings.security.refresh + LEEWAY;
        keyring.rotate(ahead).map_err(Error::Keys)?;
        let signs_from = env::now().checked_add(ahead).ok();
        let keys = keyring.jwks();
        let newest = keys.ids().last().map(|&id| id.to_owned());
        match global.output {
            Output::Human => say(format!(
                "the key {} signs in {} s",
                newest.unwrap_or_default(),
                ahead.as_secs()
            )),
            Output::Json => say(json!({ "key": newest, "signsFrom": signs_from })),
        }
        Ok(ExitCode::SUCCESS)
    }
}
