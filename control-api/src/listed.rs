//! Listed: what MediaMTX's lists of muxers, connections and sessions have in common: a page of them, one by its id, and
//! the way to end one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path as UrlPath, Query, State};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::model::Page;
use crate::paging::{Paging, query};
use crate::session_id;

/// One of a list.
pub(crate) trait Listed: Serialize + Send + Sized + 'static {
    /// Who knows them all.
    type Owner: ?Sized + Send + Sync + 'static;

    /// There is none with this id.
    const MISSING: ApiError;

    /// All of them, in the order of the list.
    fn all(owner: &Self::Owner) -> Vec<Self>;

    /// What it is asked for by.
    fn id(&self) -> &str;

    /// Whether it can be asked for by that: what is no id is told so.
    ///
    /// # Errors
    /// [`ApiError::InvalidParameter`].
    fn check_id(id: &str) -> Result<(), ApiError> {
        session_id::check(id)
    }
}

/// One of a list that can be ended.
pub(crate) trait Kicked: Listed {
    /// Ends it; says whether there is one with this id.
    fn kick(owner: &Self::Owner, id: &str) -> bool;
}

pub(crate) async fn list<T: Listed>(
    State(owner): State<Arc<T::Owner>>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<T>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(T::all(&owner))))
}

pub(crate) async fn get_one<T: Listed>(
    State(owner): State<Arc<T::Owner>>,
    id: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<T>, ApiError> {
    let UrlPath(id) = id.map_err(|_| T::MISSING)?;
    T::check_id(&id)?;
    let found = T::all(&owner).into_iter().find(|one| one.id() == id);
    found.map(Json).ok_or(T::MISSING)
}

pub(crate) async fn kick<T: Kicked>(
    State(owner): State<Arc<T::Owner>>,
    id: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let UrlPath(id) = id.map_err(|_| T::MISSING)?;
    T::check_id(&id)?;
    match T::kick(&owner, &id) {
        true => Ok(Json(json!({ "status": "ok" }))),
        false => Err(T::MISSING),
    }
}
