//! Manifest: what an export says of itself, as JSON, and the key that signs it.
//!
//! Hashes are SHA-256 in hexadecimal, times RFC 3339 in UTC. What is signed is the manifest's bytes as they stand in the
//! archive; it covers everything else by hashes.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use jiff::Timestamp;
use media_core::time::WallTime;
use serde::{Deserialize, Serialize};

use crate::seal::Hash;

/// The version of the form.
pub(super) const VERSION: u32 = 1;
/// Its name in the archive.
pub(super) const MANIFEST: &str = "manifest.json";
/// The signature's: 64 bytes, Ed25519 (RFC 8032).
pub(super) const SIGNATURE: &str = "manifest.json.sig";

/// What an export says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: u32,
    /// What made it.
    pub(super) made_by: String,
    pub(super) created: String,
    /// What was asked for.
    pub(super) start: String,
    pub(super) end: String,
    /// Who asked, of which unit, and why.
    pub(super) operator: String,
    pub(super) unit: String,
    pub(super) reason: String,
    /// Ed25519.
    pub(super) public_key: String,
    pub(super) cameras: Vec<CameraManifest>,
}

/// One camera's part of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CameraManifest {
    pub(super) path: String,
    pub(super) files: Vec<FileManifest>,
    /// What is missing between start and end.
    pub(super) gaps: Vec<GapManifest>,
}

/// Something missing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GapManifest {
    pub(super) from: String,
    pub(super) until: Option<String>,
    pub(super) reason: String,
}

/// One MP4: a run without anything missing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileManifest {
    pub(super) name: String,
    /// When its first picture was taken, and when the last one ends.
    pub(super) start: String,
    pub(super) end: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// What stands before the recorded parts' payloads.
    pub(super) head_bytes: u64,
    pub(super) head_sha256: String,
    /// The parts' heads and seals as they were recorded.
    pub(super) heads: HeadsManifest,
    pub(super) parts: Vec<PartManifest>,
}

/// The recorded file without its payloads.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeadsManifest {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A recorded part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartManifest {
    /// Of its payload, which stands in the MP4 behind that of the part before.
    pub(super) bytes: u64,
    /// Of its recorded head and its payload.
    pub(super) sha256: String,
    /// The chain behind it, as it was written when it was recorded.
    pub(super) seal: Option<String>,
}

/// Hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String can't fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// A hash or key from hexadecimal.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let mut out = Hash::default();
    if text.len() != 64 {
        return None;
    }
    for (position, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(position * 2..position * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}

/// RFC 3339, UTC.
pub(super) fn rfc3339(time: WallTime) -> String {
    Timestamp::from_microsecond(time.unix_us()).unwrap_or_default().to_string()
}

/// A key that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file can't be read or written.
    #[error("signing key {file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// Why not.
        error: io::Error,
    },
    /// It is no Ed25519 key in PKCS #8 form.
    #[error("signing key {file} is no Ed25519 key (PKCS #8)")]
    Form {
        /// The file.
        file: String,
    },
}

/// The key that signs exports.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads the key of a file, which is made when it is not there, for its owner only.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(file: &Path) -> Result<Self, KeyError> {
        let name = || file.display().to_string();
        let io = |error| KeyError::Io { file: name(), error };
        let bytes = match std::fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                    .map_err(|_| io(io::Error::other("the system has no randomness")))?;
                let mut out = std::fs::File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(file)
                    .map_err(io)?;
                out.write_all(made.as_ref()).and_then(|()| out.sync_all()).map_err(io)?;
                made.as_ref().to_vec()
            }
            read => read.map_err(io)?,
        };
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| KeyError::Form { file: name() })?;
        Ok(Self(pair))
    }

    /// The public key, hexadecimal.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// Whether a signature is that of a key.
pub(super) fn is_signed(public_key: &Hash, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}
