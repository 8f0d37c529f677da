//! `services`: the instances that a hub knows.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use clap::Args;
use outrigger::{
    Settings,
    discovery::{self, HUB, Hub, registry::Listed},
    env,
    identity::{CALL, Issuer, Keyring},
};
use serde_json::json;

use crate::{Error, Global, Output, note, say, settings::Data};

/// List the instances of the services, as the hub of a running system knows them
///
/// The hub asks for a token, which is signed with the keys in the data folder: that of the hub, on the same machine.
#[derive(Args)]
#[command(after_help = "Examples:
  shop services
  shop services --hub http://hub.local:7700 --output json")]
pub(crate) struct Services {
    /// The hub [default: `hub.url`, or http://127.0.0.1:7700]
    #[arg(long, value_name = "URL")]
    hub: Option<String>,

    #[command(flatten)]
    data: Data,
}

impl Services {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, Error> {
        let flag = self.hub.as_ref().map(|url| ("hub.url", url.clone()));
        let settings = self.data.settings_with(global, flag)?;
        let instances = hub(&settings)?.instances().await;
        let mut instances = instances.map_err(not_asked(settings.hub_found_at()))?;
        instances.sort_by(|one, other| key(one).cmp(&key(other)));
        match global.output {
            Output::Json => say(json!({ "instances": instances })),
            Output::Human if instances.is_empty() => note("no instance is registered"),
            Output::Human => table(&instances).iter().for_each(say),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn key(listed: &Listed) -> (&str, &str) {
    (&listed.instance.service, &listed.instance.id)
}

/// The hub that the settings name, entered with a token of their own keys.
fn hub(settings: &Settings) -> Result<Hub, Error> {
    let keyring = Keyring::load(&settings.keys_file()).map_err(Error::Keys)?;
    let grants = BTreeMap::from([(HUB.to_owned(), vec![CALL.to_owned()])]);
    let issuer = Issuer::new(keyring, "operator", grants);
    let url = settings.hub_found_at();
    Hub::new(&url, Some(issuer)).map_err(not_asked(url))
}

fn not_asked(url: String) -> impl FnOnce(discovery::Error) -> Error {
    move |source| Error::Hub { url, source }
}

/// The lines of the table, each column as wide as it must be.
fn table(instances: &[Listed]) -> Vec<String> {
    let head = ["service", "version", "address", "heard", "instance"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [head]
        .into_iter()
        .chain(instances.iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(listed: &Listed) -> [String; 5] {
    let Listed {
        instance,
        last_heartbeat,
    } = listed;
    let silence = Duration::try_from(env::now().duration_since(*last_heartbeat));
    let silence = silence.unwrap_or_default().as_secs();
    let leaving = if instance.draining { ", draining" } else { "" };
    [
        instance.service.clone(),
        instance.version.clone(),
        instance.address.to_string(),
        format!("{silence} s ago{leaving}"),
        instance.id.clone(),
    ]
}
