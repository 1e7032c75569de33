//! Paging: long lists in pieces.

/// Which piece of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// From 0.
    pub page: u64,
    /// Items on a page; the caller has bounded it.
    pub per_page: u64,
}

impl Paging {
    pub(crate) fn limit(self) -> i64 {
        i64::try_from(self.per_page).unwrap_or(i64::MAX)
    }

    pub(crate) fn offset(self) -> i64 {
        i64::try_from(self.page.saturating_mul(self.per_page)).unwrap_or(i64::MAX)
    }
}

/// A piece of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// How many there are in all.
    pub total: u64,
    /// Those of the page.
    pub items: Vec<T>,
}
