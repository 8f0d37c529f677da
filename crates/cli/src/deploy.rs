//! `deploy`: the manifests of the system.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use outrigger::System;

use crate::{Error, say};

/// Render what a platform needs to run the system
#[derive(Args)]
#[command(
    after_help = "Example:\n  shop deploy kubernetes --image registry.example/shop:1.2.0 | kubectl apply -f -"
)]
pub(crate) struct Deploy {
    #[command(subcommand)]
    target: Target,
}

#[derive(Subcommand)]
enum Target {
    /// Kubernetes: a Deployment, a Service and a route for each service, as YAML
    Kubernetes {
        /// The image that runs every service
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,

        /// The namespace
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
    },
}

impl Deploy {
    pub(crate) fn run(self, system: &System) -> Result<ExitCode, Error> {
        let Target::Kubernetes { image, namespace } = self.target;
        let image = image.unwrap_or_else(|| format!("{}:latest", system.name()));
        say(::deploy::kubernetes::render(
            system,
            &::deploy::kubernetes::Options { image, namespace },
        )?);
        Ok(ExitCode::SUCCESS)
    }
}
