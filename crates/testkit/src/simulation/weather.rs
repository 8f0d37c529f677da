//! Lets the faults of a schedule come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    crash_point::CrashPoint,
    fault::{Fault, Kind},
    faulty_bus::BusFaults,
    run::{Run, Users},
    schedule::{LAST_STEP, Schedule},
    stage::{Stage, TICK},
};
use crate::disk::{self, Odds};

/// The longest that a message is on its way on a good day: most arrive with the next step, some with the one after it.
const LATENCY: Duration = Duration::from_millis(10);

/// The farthest that the clocks of two machines are apart by themselves, in milliseconds.
pub(super) const SKEW_MS: i64 = 2_000;

/// How long a process is away that died at a crash point.
const DOWN: Duration = Duration::from_millis(300);

/// The faults that are still to come, and those that last.
pub(super) struct Weather {
    coming: Vec<Fault>,
    lasting: Vec<Fault>,
    /// When the users began.
    began: Option<Duration>,
    crash: Option<CrashPoint>,
    /// When what died at the crash point is started again.
    revived: Option<Duration>,
    is_calm: bool,
}

impl Weather {
    pub(super) fn of(schedule: &Schedule, crash: Option<CrashPoint>, stage: &mut Stage) -> Self {
        stage.set_latency(LATENCY);
        Self {
            coming: schedule.faults.clone(),
            lasting: Vec::new(),
            began: None,
            crash,
            revived: None,
            is_calm: false,
        }
    }

    /// When the users began.
    pub(super) fn began(&self) -> Option<Duration> {
        self.began
    }

    /// Begins and ends what is due.
    pub(super) fn pass(&mut self, stage: &mut Stage, run: &Run) {
        if run.users.get() == Users::Waiting {
            return;
        }
        let began = *self.began.get_or_insert_with(|| {
            stage.count_effects(self.crash);
            stage.begin_timeline();
            stage.elapsed()
        });
        self.revive(stage);
        if self.is_calm {
            return;
        }
        let passed = stage.elapsed() - began;
        let over: Vec<_> = self
            .lasting
            .extract_if(.., |fault| fault.until <= passed)
            .collect();
        for fault in &over {
            stage.note(format_args!("over: {}", fault.kind));
            end(&fault.kind, stage, run);
        }
        let begun: Vec<_> = self
            .coming
            .extract_if(.., |fault| fault.from <= passed)
            .collect();
        for fault in &begun {
            stage.note(format_args!("begins: {}", fault.kind));
            begin(&fault.kind, stage, run);
        }
        if !over.is_empty() || !begun.is_empty() {
            self.lasting.extend(begun);
            self.blend(&over, stage, run);
        }
        for fault in &self.lasting {
            if let Some(machine) = fault.kind.crashes()
                && fault.from + LAST_STEP <= passed
                && stage.is_up(machine)
            {
                stage.note(format_args!("{machine} takes no step, and dies"));
                stage.crash(machine);
            }
        }
        if self.coming.is_empty() && self.lasting.is_empty() {
            self.is_calm = true;
            run.calm();
        }
    }

    /// Starts again what died at the crash point.
    fn revive(&mut self, stage: &mut Stage) {
        if self.crash.is_none() || stage.struck().is_none() {
            return;
        }
        let due = *self.revived.get_or_insert(stage.elapsed() + DOWN);
        if due <= stage.elapsed() {
            let down: Vec<_> = stage.down().map(str::to_owned).collect();
            for machine in down {
                stage.restart(&machine);
            }
        }
    }

    /// Sets what several faults may have a part in; `over` are those that had one.
    fn blend(&self, over: &[Fault], stage: &mut Stage, run: &Run) {
        let mut latency = LATENCY;
        let mut bus = BusFaults::default();
        let mut cut_off = BTreeSet::new();
        let mut no_registry = false;
        let mut clocks: BTreeMap<&str, i64> = over
            .iter()
            .filter_map(|fault| clock(&fault.kind))
            .map(|(machine, _)| (machine, 0))
            .collect();
        let mut disks: BTreeMap<&str, disk::Faults> = over
            .iter()
            .filter_map(|fault| disk(&fault.kind))
            .map(|machine| (machine, disk::Faults::default()))
            .collect();
        for fault in &self.lasting {
            match &fault.kind {
                Kind::DiskFull { machine } => disks.entry(machine).or_default().capacity = Some(0),
                Kind::SyncFails { machine, one_in } => {
                    disks.entry(machine).or_default().sync_fails = Odds::OneIn(*one_in);
                }
                Kind::Latency { ms_max } => latency = latency.max(Duration::from_millis(*ms_max)),
                Kind::RegistryDown => no_registry = true,
                Kind::BusDown => bus.is_down = true,
                Kind::BusPartition { machine } => _ = cut_off.insert(machine.clone()),
                Kind::BusDelay { ms_max } => bus.delay_ms_max = bus.delay_ms_max.max(*ms_max),
                Kind::BusSilence { percent } => bus.silence += share(*percent),
                Kind::Duplicates { percent } => bus.lost_acknowledgement += share(*percent),
                Kind::Reordering { percent } => bus.reordering += share(*percent),
                kind => {
                    if let Some((machine, ahead_ms)) = clock(kind) {
                        *clocks.entry(machine).or_default() += ahead_ms;
                    }
                }
            }
        }
        for (machine, ahead_ms) in clocks {
            stage.set_clock(machine, ahead_ms);
        }
        for (machine, faults) in disks {
            stage.set_disk_faults(machine, faults);
        }
        run.set_shared_faults(bus, cut_off, no_registry);
        stage.set_latency(latency);
        let slow_before = over.iter().filter_map(|fault| slow(&fault.kind));
        for (machine, _) in slow_before {
            set_slow(stage, run, machine, TICK, latency);
        }
        for (machine, by) in self.lasting.iter().filter_map(|fault| slow(&fault.kind)) {
            set_slow(stage, run, machine, by, by + latency);
        }
    }
}

fn begin(kind: &Kind, stage: &mut Stage, run: &Run) {
    match kind {
        Kind::Crash {
            machine,
            after_steps,
        } => stage.crash_after(machine, *after_steps),
        Kind::PowerLoss {
            machine,
            after_steps,
        } => stage.lose_power_after(machine, *after_steps),
        Kind::BusCrash { loses_power } => run.kill_bus(*loses_power),
        Kind::Clock { ahead_ms, .. } if *ahead_ms < -SKEW_MS => run.seen.reach("clock set back"), // and blended
        Kind::Partition { a, b } => stage.partition(a, b),
        Kind::OneWayPartition { from, to } => stage.partition_oneway(from, to),
        Kind::Hold { a, b } => stage.hold(a, b),
        Kind::Loss { a, b, percent } => stage.set_loss(a, b, share(*percent)),
        Kind::Reset { a, b } => stage.set_cutting(a, b, true),
        _ => {} // blended
    }
}

fn end(kind: &Kind, stage: &mut Stage, run: &Run) {
    match kind {
        Kind::Crash { machine, .. } | Kind::PowerLoss { machine, .. } => stage.restart(machine),
        Kind::BusCrash { .. } => run.revive_bus(),
        Kind::Partition { a, b } | Kind::OneWayPartition { from: a, to: b } => stage.repair(a, b),
        Kind::Hold { a, b } => stage.release(a, b),
        Kind::Loss { a, b, .. } => stage.set_loss(a, b, 0.0),
        Kind::Reset { a, b } => stage.set_cutting(a, b, false),
        _ => {} // blended
    }
}

/// The machine whose clock is wrong, and by how much.
fn clock(kind: &Kind) -> Option<(&str, i64)> {
    match kind {
        Kind::Clock { machine, ahead_ms } => Some((machine, *ahead_ms)),
        _ => None,
    }
}

/// The machine whose disk does not do what it should.
fn disk(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::DiskFull { machine } | Kind::SyncFails { machine, .. } => Some(machine),
        _ => None,
    }
}

fn slow(kind: &Kind) -> Option<(&str, Duration)> {
    match kind {
        Kind::Slow { machine, by_ms } => Some((machine, Duration::from_millis(*by_ms))),
        _ => None,
    }
}

fn set_slow(stage: &mut Stage, run: &Run, machine: &str, least: Duration, longest: Duration) {
    for other in run.machines().filter(|other| *other != machine) {
        stage.set_link_latency(machine, other, least, longest);
    }
}

fn share(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}
