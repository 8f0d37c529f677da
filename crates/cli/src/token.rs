//! `token`: a service token for a program that cannot sign its own ones, or for an operator.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use clap::Args;
use outrigger::{
    System,
    discovery::HUB,
    env,
    identity::{CALL, Issuer, Keyring, OPERATE},
};
use serde_json::json;

use crate::{Error, Global, Output, say, settings::Data, time};

/// The longest that a token may be good for.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Print a token with which a service in another language calls the hub, or another service, or an operator steps in
///
/// Services that this program runs sign their own tokens, and need none of these. It is signed with the keys in the data
/// folder; whoever has it may act as the service until it ends, so keep it where only that can read it.
#[derive(Args)]
#[command(after_help = "Examples:
  shop token recommendation-service >hub.token
  shop token recommendation-service --for user-service --lifetime 12h
  shop token ada --for order-service --operate     for /sagas and /dead-letters of the order service")]
pub(crate) struct Token {
    /// Who calls
    service: String,

    /// Who is called: a service, or the hub
    #[arg(long = "for", value_name = "SERVICE", default_value = HUB)]
    audience: String,

    /// With the permission `operate` as well: whoever has it may look at the service's sagas and dead letters, and change
    /// them; at the hub, act for every service
    #[arg(long, requires = "audience")]
    operate: bool,

    /// How long it is good for, up to 720h
    #[arg(long, value_name = "TIME", value_parser = lifetime, default_value = "1h")]
    lifetime: Duration,

    #[command(flatten)]
    data: Data,
}

impl Token {
    pub(crate) fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let Self {
            service,
            audience,
            operate,
            lifetime,
            data,
        } = self;
        if audience != HUB {
            system.find(&audience)?;
        }
        let settings = data.settings(global)?;
        let keyring = Keyring::load(&settings.keys_file()).map_err(Error::Keys)?;
        let mut permissions = vec![CALL.to_owned()];
        permissions.extend(operate.then(|| OPERATE.to_owned()));
        let grants = BTreeMap::from([(audience.clone(), permissions.clone())]);
        let issuer = Issuer::new(keyring, service.clone(), grants);
        let token = issuer.lasting_token(&audience, lifetime);
        let token = token.map_err(Error::Keys)?;
        match global.output {
            Output::Human => say(token),
            Output::Json => say(json!({
                "service": service,
                "for": audience,
                "permissions": permissions,
                "ends": env::now().checked_add(lifetime).ok(),
                "token": token,
            })),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match time::length(text)? {
        lifetime if lifetime.is_zero() || lifetime > LONGEST => {
            Err("it is from 1s to 720h".to_owned())
        }
        lifetime => Ok(lifetime),
    }
}
