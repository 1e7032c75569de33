//! Places: where the built programs, the peers' scripts and the caches are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Where cargo builds; also where tests leave reports and generated clips.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A script of `tests/peers`.
#[must_use]
pub fn peer(script: &str) -> PathBuf {
    root().join("tests/peers").join(script)
}

/// A program of ours as it ships: `env_name` when set, else the release build.
///
/// # Errors
/// When it is not built; says which command builds it.
pub fn program(name: &str, env_name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(env_name).map_or_else(|| target().join("release").join(name), Into::into);
    ensure!(path.is_file(), "{} is not built: cargo build --release (or set {env_name})", path.display());
    Ok(path)
}

/// A directory below `target/`, made when absent.
///
/// # Errors
/// When it can't be made.
pub fn target_dir(name: &str) -> anyhow::Result<PathBuf> {
    let dir = target().join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Whether the long variants run (`./test --long`).
#[must_use]
pub fn long() -> bool {
    std::env::var_os("GTV_LONG").is_some_and(|value| value == "1")
}

/// Tracked files whose name ends in `suffix`.
///
/// # Errors
/// When git can't list them.
pub fn tracked(suffix: &str) -> anyhow::Result<Vec<PathBuf>> {
    let root = root();
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(&root)
        .output()
        .context("git ls-files")?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout)?;
    let names = names.split('\0').filter(|name| name.ends_with(suffix));
    Ok(names.map(|name| root.join(name)).filter(|path| path.is_file()).collect())
}
