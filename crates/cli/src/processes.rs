//! `up --processes`: each service in a process of its own, and the hub, by which they find each other, in this one; it also
//! watches over the invariants of the system.
//!
//! | module | subject |
//! |---|---|
//! | `plan` | which processes there are, and what cannot be |
//! | `child` | one of them: started, told to stop, started again when it has ended |
//! | `voice` | what all of them say, as one stream |

mod child;
mod plan;
mod voice;

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use futures::future::join_all;
use outrigger::{RunningHub, Settings, System, env, invariant, lifecycle::GATEWAY};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::child::{Kept, Word};
pub(crate) use self::plan::Replicas;
use crate::{Error, Global, Output, note, ready, say, signals};

/// How much longer than a process may take to stop it is waited for, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How many words of processes wait to be heard.
const WORDS: usize = 64;
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The processes of a system, which are kept running until they are told to stop.
struct Processes {
    hub: RunningHub,
    running: Vec<Process>,
    words: mpsc::Receiver<(usize, Word)>,
}

struct Process {
    service: String,
    label: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Where it listens, and its id, once it has been ready.
    ready: Option<(SocketAddr, u32)>,
}

/// Starts every process, says when all are ready, and keeps them running until this one is told to stop.
pub(crate) async fn run(
    system: &System,
    settings: &Settings,
    global: &Global,
    replicas: &[Replicas],
    demo: bool,
) -> Result<ExitCode, Error> {
    let begun = env::instant();
    let mut processes = Processes::start(system, settings, global, replicas).await?;
    let mut stop = pin!(signals::stop_requested());
    let running = async {
        processes.all_ready().await?;
        if let (Some(gateway), true) = (processes.gateway(), demo) {
            ready::fill(system, gateway).await;
        }
        let took = begun.elapsed();
        match global.output {
            Output::Human => ready::show(system, &processes.rows(), processes.gateway(), took),
            Output::Json => say(processes.described(system, took)),
        }
        let metrics = processes.hub.metrics().clone();
        let guarding = invariant::guard(system, settings, Some(metrics));
        tokio::select! {
            () = processes.keep() => Ok(()),
            never = guarding => match never {},
        }
    };
    let outcome = tokio::select! {
        biased;
        () = &mut stop => Ok(()),
        outcome = running => outcome,
    };
    note("stopping: finishing what is in flight");
    processes.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Processes {
    async fn start(
        system: &System,
        settings: &Settings,
        global: &Global,
        replicas: &[Replicas],
    ) -> Result<Self, Error> {
        let plan = plan::of(system, settings, replicas)?;
        let program = std::env::current_exe().map_err(Error::OwnProgram)?;
        let hub = hub(settings).await?;
        let (told, words) = mpsc::channel(WORDS);
        let voices = voice::of(plan.iter().map(|one| one.label.as_str()));
        let running = plan.into_iter().zip(voices).enumerate();
        let running = running.map(|(index, (planned, voice))| {
            let child = Kept {
                program: program.clone(),
                arguments: planned.arguments(settings, &global.config, hub.address()),
                voice,
                patience: settings.lifecycle.drain + GRACE,
            };
            let (stop, told) = (CancellationToken::new(), told.clone());
            let tell = async move |word| _ = told.send((index, word)).await;
            Process {
                service: planned.service,
                label: planned.label,
                task: tokio::spawn(child.keep(stop.clone(), tell)),
                stop,
                ready: None,
            }
        });
        Ok(Self {
            running: running.collect(),
            hub,
            words,
        })
    }

    /// Waits until each is ready. One that ends before it ever was, would not fare better a second time.
    async fn all_ready(&mut self) -> Result<(), Error> {
        while self.running.iter().any(|one| one.ready.is_none()) {
            let Some((index, word)) = self.words.recv().await else {
                return Ok(());
            };
            let process = &mut self.running[index];
            match word {
                Word::Ready(address, id) => process.ready = Some((address, id)),
                Word::Ended(how) if process.ready.is_none() => {
                    let process = process.label.clone();
                    return Err(Error::Process { process, how });
                }
                Word::Ended(how) => process.ended(&how, &self.hub).await,
            }
        }
        Ok(())
    }

    /// Hears what becomes of them, for ever.
    async fn keep(&mut self) {
        while let Some((index, word)) = self.words.recv().await {
            let process = &mut self.running[index];
            match word {
                Word::Ready(address, id) => {
                    note(format!(
                        "{} is ready again at http://{address}",
                        process.label
                    ));
                    process.ready = Some((address, id));
                }
                Word::Ended(how) => process.ended(&how, &self.hub).await,
            }
        }
    }

    fn gateway(&self) -> Option<SocketAddr> {
        let gateway = self.running.iter().find(|one| one.service == GATEWAY)?;
        gateway.ready.map(|(address, _)| address)
    }

    /// What there is, and where.
    fn rows(&self) -> Vec<(&str, SocketAddr)> {
        let ready = |one: &'_ Process| one.ready.map(|(address, _)| address);
        let mut rows: Vec<_> = self
            .running
            .iter()
            .filter_map(|one| Some((one.label.as_str(), ready(one)?)))
            .collect();
        let before_gateway = rows.len().saturating_sub(1);
        rows.insert(before_gateway, ("hub", self.hub.address()));
        rows
    }

    fn described(&self, system: &System, took: Duration) -> Value {
        let process = |one: &Process| {
            let (address, id) = one.ready?;
            Some(json!({
                "name": one.label,
                "service": one.service,
                "address": format!("http://{address}"),
                "pid": id,
            }))
        };
        json!({
            "system": system.name(),
            "status": "ready",
            "readyMs": took.as_millis() as u64,
            "gateway": self.gateway().map(|gateway| format!("http://{gateway}")),
            "hub": format!("http://{}", self.hub.address()),
            "processes": self.running.iter().filter_map(process).collect::<Vec<_>>(),
        })
    }

    /// Stops them gracefully, the gateway first, so that no request meets a service that is gone.
    async fn stop(self) {
        // Nobody listens to them any more.
        drop(self.words);
        let (gateways, services): (Vec<_>, Vec<_>) = self
            .running
            .into_iter()
            .partition(|one| one.service == GATEWAY);
        for stage in [gateways, services] {
            join_all(stage.into_iter().map(Process::stop)).await;
        }
        self.hub.stop().await;
    }
}

impl Process {
    /// It is no more, and what was known of it is not so.
    async fn ended(&mut self, how: &str, hub: &RunningHub) {
        note(format!("{} {how}; it is started again", self.label));
        if let Some((address, _)) = self.ready {
            hub.forget(address).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        // It fails where it panicked: then the process was killed with it.
        _ = self.task.await;
    }
}

/// The hub, where the settings say; where they do not and its usual port is taken, on another one.
async fn hub(settings: &Settings) -> Result<RunningHub, Error> {
    let started = RunningHub::start(settings, settings.hub.listens_on()).await;
    match started {
        Err(outrigger::Error::Listen { .. }) if settings.hub.listen.is_none() => {
            Ok(RunningHub::start(settings, ANYWHERE).await?)
        }
        started => Ok(started?),
    }
}
