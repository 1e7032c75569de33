//! Durable: names that outlive a power cut. A file's bytes are on the disk once it is synced, its name once its folder is, and
//! that folder's name once the one above is.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::thumbnails;

/// Puts what was made or removed in a folder on the disk. Blocks.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it that are not there, so that they stay. Blocks.
pub(crate) fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(above)?,
        }
    }
    Ok(())
}

/// Removes a file so that a power cut does not bring it back; one that is gone already is well. Blocks.
pub(crate) fn remove_file(name: &Path) -> io::Result<()> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    std::fs::remove_file(name).or_else(gone)?;
    name.parent().map_or(Ok(()), |folder| sync_folder(folder).or_else(gone))
}

/// Removes a recorded file, and the thumbnails beside it after it: whoever adds one looks for the file (-> `thumbnails::file`).
/// What is gone already is well. Blocks.
pub(crate) fn remove_recording(name: &Path) -> io::Result<()> {
    match std::fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    remove_file(&thumbnails::file::beside(name))
}

/// Puts a file's name on the disk, and those of the folders above it up to `root`. Blocks.
pub(crate) fn sync_name(name: &Path, root: &Path) -> io::Result<()> {
    let above = name.ancestors().skip(1);
    above.take_while(|folder| folder.starts_with(root)).try_for_each(sync_folder)
}
