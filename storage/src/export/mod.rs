//! Export: evidence as one file: an MP4 for each camera and run, hashes of every recorded part, a signature.
//!
//! ```text
//!  export.zip (stored, not compressed)
//!    cam_1/20261125T193000Z.mp4          plays anywhere: its index, then the parts' payloads as they were recorded
//!    cam_1/20261125T193000Z.mp4.heads    what else was recorded of these parts: heads, seals
//!    manifest.json                       who asked for what, hashes of everything
//!    manifest.json.sig                   Ed25519 over manifest.json
//! ```
//!
//! Head and payload together are the part as it was written when it was recorded, so the seals (-> `seal`) can be checked
//! with nothing but this file (-> `verify`).
//!
//! Belongs here: what an export is made of. Does not: who may have one, jobs (-> server).
//! Limits: `PARTS_MAX`.

mod archive;
mod build;
mod manifest;
mod verify;

pub use build::{ExportError, ExportFacts, ExportPlan, Progress};
pub use manifest::{KeyError, SigningKey};
pub use verify::{Fault, Verified, VerifyError, verify};

/// Parts of an export: 200 ms each, about 14 hours. The manifest has a line for each; longer ones are refused.
const PARTS_MAX: usize = 250_000;
/// Read and written at once.
const CHUNK_BYTES: u64 = 1 << 20;
