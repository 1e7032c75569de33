//! Seal: settings encrypted for the database, which holds no secret in clear: a camera's address has its password.
//!
//! AES-256-GCM. The key lies beside the database in a file that only the server's user may read, made with the first
//! setting; a copy of the database without it tells nothing. Each section's text is bound to its section and name, so that
//! no row can stand in another's place.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;

use super::values::hex_digit;

/// The key's file, beside the database.
const KEY_FILE: &str = "gtvision.settings.key";
const KEY_BYTES: usize = 32;
/// What the format of a sealed text begins with.
const VERSION: u8 = 1;

/// Why a text can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The key's file can't be read or made.
    #[error("key {}: {error}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was sealed with another key, for another place, or was changed.
    #[error("it is not sealed with the key {}", file.display())]
    Foreign {
        /// The file of the key that was tried.
        file: PathBuf,
    },
}

/// Seals and opens.
#[derive(Debug)]
pub(crate) struct Sealer {
    file: PathBuf,
    key: RandomizedNonceKey,
}

impl Sealer {
    /// With the key in `folder`, made when it is not there. Blocks.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub(crate) fn open(folder: &Path) -> Result<Self, SealError> {
        let file = folder.join(KEY_FILE);
        let failed = |error| SealError::Key { file: file.clone(), error };
        let bytes = match std::fs::read_to_string(&file) {
            Ok(text) => {
                key_of(&text).ok_or_else(|| failed(io::Error::other("it is not 64 hexadecimal digits")))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&file).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes);
        let key = key.map_err(|_| failed(io::Error::other("it can't be used")))?;
        Ok(Self { file, key })
    }

    /// A text for one place.
    ///
    /// # Errors
    /// [`SealError::Foreign`] when the library refuses, which it does not for texts of a sane length.
    pub(crate) fn seal(&self, place: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| self.foreign())?;
        let nonce: &[u8; NONCE_LEN] = nonce.as_ref();
        Ok([[VERSION].as_slice(), nonce, &sealed].concat())
    }

    /// The text that was sealed for a place.
    ///
    /// # Errors
    /// [`SealError::Foreign`].
    pub(crate) fn unseal(&self, place: &str, sealed: &[u8]) -> Result<String, SealError> {
        let parts = sealed.split_first().filter(|(version, _)| **version == VERSION);
        let (nonce, sealed) =
            parts.and_then(|(_, rest)| rest.split_at_checked(NONCE_LEN)).ok_or_else(|| self.foreign())?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| self.foreign())?;
        let mut text = sealed.to_vec();
        let text = self.key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut text);
        let text = text.map_err(|_| self.foreign())?;
        String::from_utf8(text.to_vec()).map_err(|_| self.foreign())
    }

    fn foreign(&self) -> SealError {
        SealError::Foreign { file: self.file.clone() }
    }
}

fn key_of(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: Vec<u8> = text.trim().bytes().map(hex_digit).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    rest.is_empty().then(|| bytes.try_into().ok()).flatten()
}

fn make(file: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(out, "{text}")?;
    // What is sealed with it is synced too.
    out.sync_all()?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    // correctness: S5
    #[test]
    fn a_sealed_text_tells_nothing_and_opens_with_its_key_in_its_place_only() {
        let folder = std::env::temp_dir().join(format!("gtvision-seal-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("other")).unwrap();
        let sealed = Sealer::open(&folder).unwrap().seal("path cam_1", "rtsp://u:hunter2@h/").unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
        let again = Sealer::open(&folder).unwrap();
        assert_eq!(again.unseal("path cam_1", &sealed).unwrap(), "rtsp://u:hunter2@h/");
        assert!(
            again.unseal("path cam_2", &sealed).is_err() && again.unseal("path cam_1", &sealed[1..]).is_err()
        );
        assert!(Sealer::open(&folder.join("other")).unwrap().unseal("path cam_1", &sealed).is_err());
        let mode = std::fs::metadata(folder.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may read the key");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
