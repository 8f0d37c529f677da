//! What processes have used of the processors and of the memory.

use std::{fs, time::Duration};

use crate::Result;

/// The clock ticks a second of `/proc` (USER_HZ), which is the same on every Linux that Rust runs on.
const TICKS: u64 = 100;

/// The CPU time of a process and all that it has started, those included that it has waited for.
pub fn cpu_of(process: u32) -> Result<Duration> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended since.
        if let Some(stat) = stat(id) {
            all.push((id, stat));
        }
    }
    let mut family = vec![process];
    let mut next = 0;
    let mut ticks = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        for (id, stat) in &all {
            if *id == parent {
                ticks += stat.ticks;
            }
            if stat.parent == parent {
                family.push(*id);
            }
        }
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// The most memory that a process had, in MiB.
pub fn peak_of(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib = kib.ok_or("the system does not tell the peak of memory")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// As proc(5) has it: after the name in parentheses come the state, the parent, and as the 14th to the 17th field the
/// ticks of the process and of its children.
fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks,
    })
}
