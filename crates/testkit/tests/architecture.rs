//! The rules of ARCHITECTURE.md that a program can check, checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

/// The floors of the workspace, lowest first. A crate may name crates of lower floors only, so siblings on one floor
/// never name each other.
const FLOORS: &[&[&str]] = &[
    &["outrigger-env", "outrigger-macros"],
    &[
        "outrigger-resilience",
        "outrigger-telemetry",
        "outrigger-identity",
        "outrigger-data",
        "outrigger-servers",
    ],
    &["outrigger-events"],
    &[
        "outrigger-eventsourcing",
        "outrigger-saga",
        "outrigger-discovery",
    ],
    &["outrigger-gateway", "outrigger-hub"],
    &["outrigger"],
    &["outrigger-testkit", "outrigger-deploy"],
    &["outrigger-cli"],
    &["shop-contracts"],
    &[
        "shop-user",
        "shop-inventory",
        "shop-payment",
        "shop-order",
        "shop-notification",
    ],
    &["shop"],
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev` for what only tests name.
    kind: Option<String>,
    /// The folder, of a crate of the workspace.
    path: Option<PathBuf>,
}

fn workspace() -> Metadata {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo's own JSON")
}

fn floors() -> BTreeMap<&'static str, usize> {
    let numbered = FLOORS.iter().enumerate();
    numbered
        .flat_map(|(floor, names)| names.iter().map(move |name| (*name, floor)))
        .collect()
}

#[test]
fn every_crate_has_a_floor() {
    let found: BTreeSet<_> = workspace()
        .packages
        .into_iter()
        .map(|package| package.name)
        .collect();
    let known: BTreeSet<_> = FLOORS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(
        found, known,
        "a crate came or went: give it its floor here and in ARCHITECTURE.md"
    );
}

/// Tests may look at what is above them; what is shipped may not.
#[test]
fn imports_point_down() {
    let floors = floors();
    for package in workspace().packages {
        let own = floors[package.name.as_str()];
        let named = package.dependencies.iter().filter(|dependency| {
            dependency.path.is_some() && dependency.kind.as_deref() != Some("dev")
        });
        for dependency in named {
            let theirs = floors[dependency.name.as_str()];
            assert!(
                theirs < own,
                "{} (floor {own}) names {} (floor {theirs}): imports point down, never up or sideways",
                package.name,
                dependency.name,
            );
        }
    }
}

#[test]
fn a_service_of_the_shop_never_names_another() {
    let services: BTreeSet<_> = FLOORS[9].iter().copied().collect();
    for package in workspace().packages {
        if !services.contains(package.name.as_str()) {
            continue;
        }
        for dependency in &package.dependencies {
            assert!(
                !services.contains(dependency.name.as_str()),
                "{} names {}: what they say to each other belongs in shop/contracts",
                package.name,
                dependency.name,
            );
        }
    }
}

#[test]
fn every_file_says_on_its_first_line_what_it_is_for() {
    let metadata = workspace();
    let mut files = Vec::new();
    for package in &metadata.packages {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a folder");
        for part in ["src", "tests", "examples"] {
            collect(&folder.join(part), &mut files);
        }
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    let silent: Vec<_> = files
        .iter()
        .filter(|file| {
            !fs::read_to_string(file)
                .expect("readable")
                .starts_with("//! ")
        })
        .map(|file| file.strip_prefix(&metadata.workspace_root).unwrap_or(file))
        .collect();
    assert!(
        silent.is_empty(),
        "their first line is not `//! …`: {silent:?}"
    );
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
