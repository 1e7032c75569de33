//! Arrows: which crate may import which, held against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use gtvision_tests::workspace;
use serde_json::Value;

/// Our crates: who may import whom (ARCHITECTURE.md draws it). `tests` and `benches` may
/// import any and are not listed.
const ARROWS: &[(&str, &[&str])] = &[
    ("media-core", &[]),
    ("storage", &["media-core"]),
    ("control-api", &[]),
    ("gtvision", &["media-core", "storage", "control-api"]),
    ("fixtures", &[]),
];

/// Crates that decide without doing I/O, and so hold none of `IO_CRATES`.
const SANS_IO: &[&str] = &["media-core"];

const IO_CRATES: &[&str] = &[
    "axum",
    "futures-util",
    "hyper",
    "hyper-util",
    "mio",
    "quinn-udp",
    "reqwest",
    "retina",
    "rustls",
    "socket2",
    "sqlx",
    "str0m",
    "tokio",
    "tokio-rustls",
    "tokio-util",
];

/// Normal and build dependencies by package; development ones are the tests' own business.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(workspace::root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap();
        let shipped = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
        shipped.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), names(package))).collect()
}

#[test]
fn crates_import_only_along_the_arrows() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    for (name, allowed) in ARROWS {
        let imports: BTreeSet<&str> = dependencies[*name].iter().map(String::as_str).collect();
        let allowed = BTreeSet::from_iter(allowed.iter().copied());
        let wrong: Vec<_> = imports.intersection(&ours).filter(|name| !allowed.contains(*name)).collect();
        assert!(wrong.is_empty(), "{name} may not import {wrong:?}");
    }
}

#[test]
fn every_crate_has_its_arrows_written_down() {
    let listed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let free = BTreeSet::from(["gtvision-tests", "gtvision-fuzz", "gtvision-benches"]);
    for name in dependencies().keys() {
        assert!(listed.contains(name.as_str()) || free.contains(name.as_str()), "{name} is not in ARROWS");
    }
}

#[test]
fn crates_that_decide_hold_no_io() {
    let dependencies = dependencies();
    for name in SANS_IO {
        let io: Vec<_> = IO_CRATES.iter().filter(|io| dependencies[*name].contains(**io)).collect();
        assert!(io.is_empty(), "{name} is sans-I/O and may not import {io:?}");
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for manifest in workspace::tracked("Cargo.toml").unwrap() {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let takes = text.contains("[lints]\nworkspace = true") || text.contains("[workspace.lints");
        assert!(takes, "{} does not take the workspace's lints", manifest.display());
    }
}
