//! What a benchmark found: a table for people, a file for programs.

use std::{fs, path::Path};

use serde::Serialize;

use crate::Result;

/// One comparison.
#[derive(Serialize)]
pub struct Case {
    /// What was done.
    pub case: String,
    /// Of both figures.
    pub unit: &'static str,
    /// Outrigger's figure.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// Who the peer is.
    pub peer_name: String,
    /// Ours to the peer's; more is better, whatever the unit.
    pub ratio: f64,
    /// How both were set, durability above all.
    pub settings: String,
}

impl Case {
    /// A comparison of rates.
    pub fn rate(case: &str, ours: f64, peer_name: &str, peer: f64, settings: &str) -> Self {
        Self::new(
            case,
            "per second",
            ours,
            peer_name,
            peer,
            ours / peer,
            settings,
        )
    }

    /// A comparison of what less of is better.
    pub fn cost(
        case: &str,
        unit: &'static str,
        ours: f64,
        peer_name: &str,
        peer: f64,
        settings: &str,
    ) -> Self {
        Self::new(case, unit, ours, peer_name, peer, peer / ours, settings)
    }

    fn new(
        case: &str,
        unit: &'static str,
        ours: f64,
        peer_name: &str,
        peer: f64,
        ratio: f64,
        settings: &str,
    ) -> Self {
        Self {
            case: case.to_owned(),
            unit,
            ours,
            peer,
            peer_name: peer_name.to_owned(),
            ratio,
            settings: settings.to_owned(),
        }
    }
}

/// Prints the table, and writes the file.
pub fn publish(name: &str, cases: &[Case]) -> Result<()> {
    println!("{name}, on {}\n", machine());
    println!(
        "{:<64} {:>12} {:>12} {:>8}  {:<36} settings",
        "case", "ours", "peer", "ratio", "peer is"
    );
    for case in cases {
        println!(
            "{:<64} {:>12} {:>12} {:>7.2}x  {:<36} {}",
            format!("{} ({})", case.case, case.unit),
            figure(case.ours),
            figure(case.peer),
            case.ratio,
            case.peer_name,
            case.settings
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    fs::write(file, serde_json::to_string_pretty(cases)? + "\n")?;
    Ok(())
}

fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    format!("{cores} cores of {model}")
}
