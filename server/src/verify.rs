//! Verify: `gtvision verify FILE`, for those who are given an export.

use std::io::{self, Write as _};
use std::path::Path;

use storage::export::{VerifyError, verify};

use crate::cli::Exit;

/// Checks an export and says what it found.
///
/// # Errors
/// When standard output or error can't be written.
pub(crate) fn run(file: &Path, key: Option<&str>) -> io::Result<Exit> {
    match verify(file, key) {
        Ok(found) => {
            let mut out = io::stdout().lock();
            writeln!(out, "authentic, complete")?;
            let (start, end) = &found.time;
            writeln!(
                out,
                "{} cameras, {} files, {} recorded parts, {start} to {end}, for {}",
                found.cameras, found.files, found.parts, found.operator
            )?;
            if found.unsealed > 0 {
                writeln!(out, "{} parts were recorded without a seal", found.unsealed)?;
            }
            writeln!(out, "signed by {}", found.public_key)?;
            if key.is_none() {
                writeln!(
                    out,
                    "compare this key with the server's own (GET /export/key), or give it with --key"
                )?;
            }
            Ok(Exit::Done)
        }
        Err(VerifyError::Io(error)) => {
            writeln!(io::stderr(), "{}: {error}", file.display())?;
            Ok(Exit::Failure)
        }
        Err(error) => {
            writeln!(io::stderr(), "not authentic: {error}")?;
            Ok(Exit::Failure)
        }
    }
}
