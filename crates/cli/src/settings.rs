//! The settings of a verb: the file, the variables, and what its flags say.

use std::path::PathBuf;

use clap::Args;
use outrigger::Settings;

use crate::{Error, Global};

/// Where the data of the system lies.
#[derive(Args, Default)]
pub(crate) struct Data {
    /// The folder of the databases [default: .outrigger]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Data {
    pub(crate) fn settings(&self, global: &Global) -> Result<Settings, Error> {
        self.settings_with(global, [])
    }

    /// The settings, where the verb has other flags besides: each a key, and what it is set to.
    pub(crate) fn settings_with<'a>(
        &self,
        global: &Global,
        flags: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Settings, Error> {
        let data = self.data.as_ref();
        let data = data.map(|path| ("data", path.display().to_string()));
        Ok(Settings::load(
            &global.config,
            data.into_iter().chain(flags),
        )?)
    }
}
