//! Request: the delivery directives of a playlist request, and whether to answer it now.
//!
//! Spec: rfc8216bis s6.2.5.1 (delivery directives), s6.2.5.2 (blocking reload). A query string has at most
//! [`QUERY_BYTES_MAX`] bytes.

use std::time::Duration;

use super::names::decimal;

/// The longest query string looked at; a longer one is a bad request.
pub const QUERY_BYTES_MAX: usize = 2048;

/// `_HLS_msn`, `_HLS_part`, `_HLS_skip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Hold until this segment is there...
    pub msn: Option<u64>,
    /// ...or this part of it.
    pub part: Option<u32>,
    /// A delta update is welcome.
    pub skip: bool,
}

/// A query that breaks the rules: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDirective {
    /// The query is too long.
    #[error("query of {bytes} bytes, the limit is {QUERY_BYTES_MAX}")]
    QueryTooLong {
        /// Its length.
        bytes: usize,
    },
    /// `_HLS_msn` or `_HLS_part` is not a decimal integer.
    #[error("{directive} is not a decimal integer")]
    NotANumber {
        /// Which.
        directive: &'static str,
    },
    /// `_HLS_skip` is neither `YES` nor `v2`.
    #[error("_HLS_skip is neither YES nor v2")]
    BadSkip,
    /// `_HLS_part` without `_HLS_msn`.
    #[error("_HLS_part without _HLS_msn")]
    PartWithoutMsn,
    /// More than two segments, or more parts than the advance limit, ahead of the playlist.
    #[error("too far in the future: msn {msn}, the next segment is {next_msn}")]
    TooFarAhead {
        /// What was asked for.
        msn: u64,
        /// The open segment.
        next_msn: u64,
    },
}

/// What a playlist request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The playlist of now.
    Now,
    /// Nothing yet: ask again at the next change, or after `left`.
    Wait {
        /// Until it becomes [`Answer::Unavailable`].
        left: Duration,
    },
    /// 400.
    BadRequest(BadDirective),
    /// 503: held for as long as the rules allow.
    Unavailable,
}

impl Directives {
    /// Reads the directives from a query string; other parameters are not looked at.
    ///
    /// # Errors
    /// [`BadDirective`] for what must be answered with 400 (correctness: H6).
    pub fn parse(query: &str) -> Result<Self, BadDirective> {
        if query.len() > QUERY_BYTES_MAX {
            return Err(BadDirective::QueryTooLong { bytes: query.len() });
        }
        let mut directives = Self::default();
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            match name {
                "_HLS_msn" => {
                    let number = decimal(value).ok_or(BadDirective::NotANumber { directive: "_HLS_msn" })?;
                    directives.msn = Some(number);
                }
                "_HLS_part" => {
                    let number = decimal(value).and_then(|number| u32::try_from(number).ok());
                    directives.part =
                        Some(number.ok_or(BadDirective::NotANumber { directive: "_HLS_part" })?);
                }
                "_HLS_skip" if matches!(value, "YES" | "v2") => directives.skip = true,
                "_HLS_skip" => return Err(BadDirective::BadSkip),
                _ => {}
            }
        }
        if directives.part.is_some() && directives.msn.is_none() {
            return Err(BadDirective::PartWithoutMsn);
        }
        Ok(directives)
    }
}
