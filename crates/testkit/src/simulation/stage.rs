//! One deterministic thread: simulated machines on a simulated network, every answer of the outside made from a seed.
//!
//! A [`Simulation`](super::Simulation) plays a whole system here; a test may play two machines of its own.
//!
//! What makes a run repeat, beside the world that it enters: a thread of its own, so that nothing is cached from
//! before; the C library's clock and chance ([`interpose`]); SQLite's generator; and a process that plays once, for
//! tokio counts its tasks in a global, and a crash drops them in an order that follows from the count. Whatever is
//! played must not start threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime},
};

use rand::Rng;
use telemetry::logging;

use super::{
    Error,
    clock::Clock,
    crash_point::{CrashPoint, Effects},
    interpose::{self, EPOCH_SECONDS},
    machines::Machines,
    network::Network,
    panics,
    seen::Seen,
    timeline::Timeline,
    trace::Trace,
    world::Simulated,
};
use crate::disk::{self, Disk};

/// How much simulated time passes in a step, and the least that a message is on its way.
///
/// Within a step machines take turns, in an order that is drawn, and the timers of each elapse by the millisecond. A shorter step costs
/// a turn of every machine more often, whether it has something to do or not.
pub const TICK: Duration = Duration::from_millis(5);
/// How many connections may wait to be accepted, as on Linux. Where a link is held up or a machine is slow, those of all who try
/// again come at once; the network ends the simulation over one too many.
const BACKLOG: usize = 4096;
/// What is in the trace; the network is traced by us, with its bytes.
const TRACED: &str = "debug,turmoil=off";
/// Debug builds keep large futures on the stack.
const STACK: usize = 32 * 1024 * 1024;

/// What a machine runs: it ends, with or without success, or is crashed.
pub type Ended = Result<(), env::BoxError>;

/// See the [module](self).
pub struct Stage {
    // First, so that it is torn down while the world still stands.
    network: turmoil::Sim<'static>,
    machines: Machines,
    links: Network,
    effects: Effects,
    /// Those whose process does not run.
    down: BTreeSet<String>,
    /// Those that lose their power when they die.
    powerless: BTreeSet<String>,
    disks: BTreeMap<String, Disk>,
    clock: Clock,
    trace: Trace,
    _world: env::world::Entered,
    _lines: tracing::dispatcher::DefaultGuard,
    _logging: logging::Guard,
    interposed: interpose::Entered,
}

impl Stage {
    /// Plays `play` on a stage made from `seed`, on a thread of its own, and returns what it returns. The trace is
    /// written to `trace` if that is given.
    ///
    /// # Errors
    /// [`Error::Trace`], [`Error::Thread`], [`Error::Logging`] and [`Error::NotInForce`].
    pub fn play<T: Send>(
        seed: u64,
        trace: Option<&Path>,
        play: impl FnOnce(&mut Self) -> T + Send,
    ) -> Result<T, Error> {
        let perform = move || {
            let mut stage = Self::set(seed, trace)?;
            let played = play(&mut stage);
            stage.trace.finish().map_err(unwritten(trace))?;
            Ok(played)
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name(format!("simulation of seed {seed}"))
                .stack_size(STACK)
                .spawn_scoped(scope, perform)
                .map_err(Error::Thread)?;
            match thread.join() {
                Ok(played) => played,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn set(seed: u64, file: Option<&Path>) -> Result<Self, Error> {
        panics::record();
        let clock = Clock::default();
        let machines = Machines::default();
        let trace = Trace::new(clock.clone(), machines.clone(), file).map_err(unwritten(file))?;
        let interposed = interpose::enter(seed);
        if !interpose::is_in_force() {
            return Err(Error::NotInForce);
        }
        let links = Network::of(machines.clone());
        let effects = Effects::default();
        let world = Simulated::new(
            seed,
            clock.clone(),
            machines.clone(),
            trace.clone(),
            links.clone(),
            effects.clone(),
        );
        let world = env::world::enter(Rc::new(world));
        let (lines, logging) = log_to(&trace)?;
        Ok(Self {
            network: network(),
            machines,
            links,
            effects,
            down: BTreeSet::new(),
            powerless: BTreeSet::new(),
            disks: BTreeMap::new(),
            clock,
            trace,
            _world: world,
            _lines: lines,
            _logging: logging,
            interposed,
        })
    }

    /// Adds a machine that runs `software`, again after each [restart](Self::restart).
    pub fn machine<F, Fut>(&mut self, name: &str, software: F) -> IpAddr
    where
        F: Fn() -> Fut + 'static,
        Fut: Future<Output = Ended> + 'static,
    {
        let address = self.network.lookup(name);
        self.machines.add(name, address);
        let (machines, links) = (self.machines.clone(), self.links.clone());
        self.network.host(name, move || {
            let (machines, links, running) = (machines.clone(), links.clone(), software());
            async move {
                machines.started(address);
                let ended = running.await;
                if links.is_dead(address) {
                    std::future::pending::<()>().await; // it was killed before it could end
                }
                ended.map_err(|error| error as Box<dyn std::error::Error>)
            }
        });
        address
    }

    /// The files of a machine are on `disk`.
    pub fn set_disk(&mut self, machine: &str, disk: Disk) {
        self.disks.insert(machine.to_owned(), disk);
    }

    /// What goes wrong with the disk of a machine from now on.
    pub fn set_disk_faults(&self, machine: &str, faults: disk::Faults) {
        if let Some(disk) = self.disks.get(machine) {
            disk.set_faults(faults);
        }
    }

    /// Lets [`TICK`] pass on every machine.
    ///
    /// # Errors
    /// What the software of a machine failed with, in words.
    pub fn step(&mut self) -> Result<(), String> {
        self.network.step().map_err(|error| error.to_string())?;
        let elapsed = self.network.elapsed();
        self.clock.set(elapsed);
        self.interposed.set_elapsed(elapsed);
        for machine in self.links.fates().dead() {
            if self.effects.is_powerless(&machine) {
                self.powerless.insert(machine.clone());
            }
            self.note(format_args!("{machine} has died"));
            self.crash(&machine);
        }
        Ok(())
    }

    /// How much simulated time has passed.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The longest that a message is on its way.
    pub fn set_latency(&mut self, longest: Duration) {
        self.network.set_max_message_latency(longest.max(TICK));
    }

    /// How long every message between two machines is on its way, at least and at most.
    pub fn set_link_latency(&mut self, a: &str, b: &str, least: Duration, longest: Duration) {
        self.network.set_link_latency(a, b, least.max(TICK));
        let longest = longest.max(least).max(TICK);
        self.network.set_link_max_message_latency(a, b, longest);
    }

    /// Kills the process of a machine: what it had in memory is gone, its files stay. Nothing if it does not run.
    pub fn crash(&mut self, machine: &str) {
        if self.down.insert(machine.to_owned()) {
            // What is dropped now must not have an effect any more.
            self.links.fates().doom(machine, 0);
            let loses_power = self.powerless.remove(machine);
            self.trace.seen().reach(match loses_power {
                true => "process lost its power",
                false => "process died",
            });
            match self.disks.get(machine) {
                // Before the process ends: one that ends closes its database, and closing one syncs it.
                Some(disk) if loses_power => disk.power_loss(),
                Some(disk) => disk.process_death(),
                None => {}
            }
            self.network.crash(machine);
            self.links.fates().spare(machine);
        }
    }

    /// Kills the process of a machine once it has taken so many steps that others can see: it has sent something,
    /// committed, published. It may die between two steps that are at the same instant.
    pub fn crash_after(&mut self, machine: &str, steps: u32) {
        match steps {
            0 => self.crash(machine),
            _ => self.links.fates().doom(machine, steps),
        }
    }

    /// As [`crash_after`](Self::crash_after), and what was not synced is lost, in whole or in part.
    pub fn lose_power_after(&mut self, machine: &str, steps: u32) {
        self.powerless.insert(machine.to_owned());
        self.crash_after(machine, steps);
    }

    /// Starts the process of a machine, once more if it runs.
    pub fn restart(&mut self, machine: &str) {
        self.crash(machine);
        self.links.fates().spare(machine);
        self.powerless.remove(machine);
        self.down.remove(machine);
        self.network.bounce(machine);
    }

    /// Loses every message between two machines. A connection that lost one stays dead after the [repair](Self::repair).
    pub fn partition(&mut self, a: &str, b: &str) {
        self.network.partition(a, b);
    }

    /// Ends a [partition](Self::partition), in one direction or both.
    pub fn repair(&mut self, a: &str, b: &str) {
        self.network.repair(a, b);
    }

    /// Loses every message from one machine to another.
    pub fn partition_oneway(&mut self, from: &str, to: &str) {
        self.network.partition_oneway(from, to);
    }

    /// Keeps every message between two machines on its way until the [release](Self::release).
    pub fn hold(&mut self, a: &str, b: &str) {
        self.network.hold(a, b);
    }

    /// Ends a [hold](Self::hold): what was held arrives.
    pub fn release(&mut self, a: &str, b: &str) {
        self.network.release(a, b);
    }

    /// How probably a message between two machines is lost, and with it what is on its way; from 0 to 1.
    pub fn set_loss(&mut self, a: &str, b: &str, probability: f64) {
        let probability = probability.clamp(0.0, 1.0);
        self.network.set_link_fail_rate(a, b, probability);
        if probability == 0.0 {
            self.network.repair(a, b);
        }
    }

    /// Cuts the next message between two machines in its middle, and breaks its connection; or does not any more.
    pub fn set_cutting(&mut self, a: &str, b: &str, is_cutting: bool) {
        let (a, b) = (self.network.lookup(a), self.network.lookup(b));
        self.links.set_cutting(a, b, is_cutting);
    }

    /// Sets how far the wall clock of a machine is ahead; behind, if negative.
    pub fn set_clock(&mut self, machine: &str, ahead_ms: i64) {
        self.machines.set_ahead(machine, ahead_ms);
    }

    /// From now on [effects](env::world::Effect) count, and the machine dies that comes to `crash`.
    pub fn count_effects(&self, crash: Option<CrashPoint>) {
        self.effects.count_from_now(crash, self.disks.clone());
    }

    /// How many effects there were since they [count](Self::count_effects).
    pub fn effects(&self) -> u64 {
        self.effects.count()
    }

    /// What died at the crash point, in words, once it has.
    pub fn struck(&self) -> Option<String> {
        self.effects.struck()
    }

    /// Whether the process of a machine runs.
    pub fn is_up(&self, machine: &str) -> bool {
        !self.down.contains(machine)
    }

    /// The machines whose process does not run.
    pub fn down(&self) -> impl Iterator<Item = &str> {
        self.down.iter().map(String::as_str)
    }

    /// From now on a timeline is kept.
    pub fn keep_timeline(&self) {
        self.trace.keep_timeline();
    }

    /// The timeline, if one is kept, begins here: what was before is forgotten.
    pub fn begin_timeline(&self) {
        self.trace.begin_timeline();
    }

    /// The timeline, if one was kept.
    pub fn take_timeline(&self) -> Option<Timeline> {
        self.trace.take_timeline()
    }

    /// Writes into the trace.
    pub fn note(&self, what: impl std::fmt::Display) {
        self.trace.note(what);
    }

    /// The hash of all that happened until now, in hex.
    pub fn trace_hash(&self) -> String {
        self.trace.hash()
    }

    /// How many entries the trace has until now.
    pub fn trace_entries(&self) -> u64 {
        self.trace.entries()
    }

    /// What is seen of the run from outside.
    pub(super) fn seen(&self) -> Seen {
        self.trace.seen().clone()
    }

    /// The panics since they were last taken, each with its place.
    pub fn take_panics(&self) -> Vec<String> {
        panics::take()
    }
}

fn unwritten(file: Option<&Path>) -> impl FnOnce(io::Error) -> Error {
    let path = file.map(PathBuf::from).unwrap_or_default();
    move |source| Error::Trace { path, source }
}

fn network() -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECONDS))
        .rng_seed(env::random().next_u64())
        .tick_duration(TICK)
        .min_message_latency(TICK)
        .tcp_capacity(BACKLOG)
        .simulation_duration(Duration::MAX)
        .enable_random_order()
        .build()
}

fn log_to(trace: &Trace) -> Result<(tracing::dispatcher::DefaultGuard, logging::Guard), Error> {
    let sink = trace.clone();
    let options = logging::Options::new("simulation")
        .format(logging::Format::Json)
        .filter(TRACED)
        .without_spans_of("turmoil::sim")
        .output(logging::Output::Sink(std::sync::Arc::new(move |line| {
            sink.line(line);
        })));
    let (dispatch, guard) = logging::dispatch(options).map_err(Error::Logging)?;
    Ok((tracing::dispatcher::set_default(&dispatch), guard))
}
