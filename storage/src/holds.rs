//! Holds: footage of an incident, which no rule deletes until somebody releases it.
//!
//! A hold is a time range of a path, not a list of files: what is recorded in it later is held too, and it survives a
//! restart with the catalogue. A file goes with the hold as a whole.

use media_core::path_name::PathName;
use media_core::time::WallTime;

/// The longest reason, in bytes.
pub const HOLD_REASON_BYTES_MAX: usize = 2000;
/// The longest name of a person or program that did something, in bytes.
pub const ACTOR_BYTES_MAX: usize = 200;

/// What somebody wants to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHold {
    /// Of which path.
    pub path: PathName,
    /// From when.
    pub start: WallTime,
    /// Until when; later than `start`.
    pub end: WallTime,
    /// Why, for a person.
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its number.
    pub id: i64,
    /// What was asked for.
    pub placed: NewHold,
    /// When it was placed.
    pub created: WallTime,
    /// When and by whom it was released; `None` while it holds.
    pub released: Option<Release>,
    /// Recorded files that it holds now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The end of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// When.
    pub at: WallTime,
    /// By whom.
    pub by: String,
}

/// Which holds are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldFilter {
    /// Of one path.
    pub path: Option<PathName>,
    /// Those that hold, or those that were released.
    pub is_active: Option<bool>,
}
