//! Path name: a stream's name on the wire, parsed once at the edge (correctness: S3).
//!
//! Everything past the edge takes a [`PathName`], never a string from outside, so that a name
//! can't leave the folder, the playlist or the metric label it is put in.

use std::fmt;
use std::sync::Arc;

/// The longest path name taken, in bytes; a longer one is refused. Long enough for
/// `city/zone/street/camera`, short enough for a file name with a time stamp (255 bytes).
pub const PATH_NAME_BYTES_MAX: usize = 200;

/// A valid name of a stream (`cam_1`, `city/north/cam_1`): cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathName(Arc<str>);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathNameError {
    /// Nothing between the slashes.
    #[error("path name is empty")]
    Empty,
    /// Longer than [`PATH_NAME_BYTES_MAX`].
    #[error("path name has {got} bytes, the limit is {PATH_NAME_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// A slash at an end, or two in a row.
    #[error("path name {name:?} begins or ends with a slash or has an empty segment")]
    EmptySegment {
        /// The name.
        name: String,
    },
    /// A `.` or `..` segment.
    #[error("path name {name:?} has a '.' or '..' segment")]
    DotSegment {
        /// The name.
        name: String,
    },
    /// The first segment is `_`, where the server's own pages live.
    #[error("path name {name:?}: a first segment of '_' is reserved for the server's own pages")]
    Reserved {
        /// The name.
        name: String,
    },
    /// A character outside `[0-9A-Za-z_-./]`.
    #[error(
        "path name {name:?} has the character {character:?}; allowed are letters, digits, '_', '-', '.' and '/'"
    )]
    BadCharacter {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
}

impl PathName {
    /// Parses a name: `[0-9A-Za-z_-./]`, no slash at an end, no empty, `.` or `..` segment.
    ///
    /// # Errors
    /// [`PathNameError`] names the first fault.
    pub fn parse(name: &str) -> Result<Self, PathNameError> {
        if name.is_empty() {
            return Err(PathNameError::Empty);
        }
        if name.len() > PATH_NAME_BYTES_MAX {
            return Err(PathNameError::TooLong { got: name.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        if let Some(character) = name.chars().find(|c| !allowed(*c)) {
            return Err(PathNameError::BadCharacter { name: name.to_owned(), character });
        }
        for (index, segment) in name.split('/').enumerate() {
            match segment {
                "" => return Err(PathNameError::EmptySegment { name: name.to_owned() }),
                "." | ".." => return Err(PathNameError::DotSegment { name: name.to_owned() }),
                "_" if index == 0 => return Err(PathNameError::Reserved { name: name.to_owned() }),
                _ => {}
            }
        }
        Ok(Self(name.into()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cameras_are_taken() {
        for name in ["cam_1", "city/north/cam-1", "a.b", "...", "x/_"] {
            assert_eq!(PathName::parse(name).unwrap().as_str(), name);
        }
    }

    // correctness: S3
    #[test]
    fn names_that_leave_their_place_are_refused() {
        let long = "x".repeat(PATH_NAME_BYTES_MAX + 1);
        for name in
            ["", "/a", "a/", "a//b", ".", "a/../b", "..", "a b", "a\\b", "ç", "a%2f", "_/x", "_", &long]
        {
            assert!(PathName::parse(name).is_err(), "{name:?} must be refused");
        }
    }
}
