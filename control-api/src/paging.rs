//! Paging: `?page=0&itemsPerPage=100` into a piece of a list, as MediaMTX does it.
//!
//! Limits: [`ITEMS_PER_PAGE_MAX`].

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use crate::error::ApiError;
use crate::model::Page;

/// Items on a page when the caller does not say, MediaMTX's.
pub const ITEMS_PER_PAGE_DEFAULT: usize = 100;

/// The most items on a page; a caller who asks for more gets this many.
pub const ITEMS_PER_PAGE_MAX: usize = 10_000;

/// The parameters as texts: their faults are ours to word.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Paging {
    page: Option<String>,
    items_per_page: Option<String>,
}

/// Which piece of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageWanted {
    /// From 0.
    pub page: usize,
    /// At most [`ITEMS_PER_PAGE_MAX`], at least 1.
    pub per_page: usize,
}

/// A piece of a list that its owner cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece<T> {
    /// How many there are in all.
    pub total: usize,
    /// Those of the page.
    pub items: Vec<T>,
}

impl Paging {
    pub(crate) fn wanted(&self) -> Result<PageWanted, ApiError> {
        let number = |text: &Option<String>, name| match text {
            None => Ok(None),
            Some(text) => {
                let why = "it must be a number that is not negative";
                text.parse::<usize>().map(Some).map_err(|_| ApiError::InvalidParameter { name, why })
            }
        };
        let page = number(&self.page, "page")?.unwrap_or(0);
        let per_page = match number(&self.items_per_page, "itemsPerPage")? {
            None => ITEMS_PER_PAGE_DEFAULT,
            Some(0) => {
                return Err(ApiError::InvalidParameter { name: "itemsPerPage", why: "it must not be 0" });
            }
            Some(wanted) => wanted.min(ITEMS_PER_PAGE_MAX),
        };
        Ok(PageWanted { page, per_page })
    }
}

impl PageWanted {
    /// One page of `items`; past the end an empty one.
    pub(crate) fn of<T>(self, items: Vec<T>) -> Page<T> {
        let total = items.len();
        let items = items.into_iter().skip(self.skipped()).take(self.per_page).collect();
        self.made(Piece { total, items })
    }

    /// Items on the pages before.
    pub(crate) fn skipped(self) -> usize {
        self.page.saturating_mul(self.per_page)
    }

    /// The page that a piece is.
    pub(crate) fn made<T>(self, piece: Piece<T>) -> Page<T> {
        let page_count = piece.total.div_ceil(self.per_page.max(1));
        Page { item_count: piece.total, page_count, items: piece.items }
    }
}

/// What a query string holds.
pub(crate) fn query<T>(parsed: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let Query(query) =
        parsed.map_err(|_| ApiError::InvalidParameter { name: "query", why: "it can't be decoded" })?;
    Ok(query)
}
