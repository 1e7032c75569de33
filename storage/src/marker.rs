//! Marker: which files are open, written down where the files are, so that start-up need not look for them.
//!
//! `{root}/.gtvision/open/{run}-{number}-{n}` is a symbolic link to the file. It is made before the file is, with one
//! call of the system that either happens or does not, and removed once the catalogue knows the file as closed. So
//! after a crash the links name every file that may have a torn end, also one that the catalogue has not heard of, in
//! time that does not grow with the archive. The syncer puts them on the disk before the names of the files.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use media_core::egress::recorder::FileStart;

/// From the folder of the links to the root.
const UP: &str = "../..";
/// Links that the system may hold of one run and number: one is enough, some may be left of a clock set back.
const TRIES_MAX: u32 = 100;

fn folder(root: &Path) -> PathBuf {
    root.join(".gtvision/open")
}

/// The folders that a marker's name depends on below `root`.
pub(crate) fn folders(root: &Path) -> [PathBuf; 2] {
    [root.join(".gtvision"), folder(root)]
}

/// Makes the marker of a file that is about to be made.
pub(crate) fn place(root: &Path, name: &Path, start: &FileStart) -> io::Result<PathBuf> {
    let inside = name.strip_prefix(root).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let folder = folder(root);
    std::fs::create_dir_all(&folder)?;
    for number in 0..TRIES_MAX {
        let marker = folder.join(format!("{}-{}-{number}", start.run.0, start.number));
        match symlink(Path::new(UP).join(inside), &marker) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| marker),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// All markers with the files they name; a link that leads out of `root` is not ours and is passed over.
pub(crate) fn all(root: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let entries = match std::fs::read_dir(folder(root)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let marker = entry?.path();
        let Ok(target) = std::fs::read_link(&marker) else { continue };
        let Ok(inside) = target.strip_prefix(UP) else { continue };
        if inside.components().all(|part| matches!(part, Component::Normal(_))) {
            found.push((marker, root.join(inside)));
        } else {
            tracing::warn!(marker = %marker.display(), "marker leads out of the recordings and is passed over");
        }
    }
    Ok(found)
}

/// Removes a marker; one that is gone already is well.
pub(crate) fn remove(marker: &Path) -> io::Result<()> {
    match std::fs::remove_file(marker) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
