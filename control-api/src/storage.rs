//! Storage: recordings for those who administer them: holds, deletions, figures, switches, and MediaMTX's
//! `/v3/recordings`.
//!
//! ```text
//!  GET, POST     /v1/holds                       footage of incidents, which no rule deletes
//!  GET, DELETE   /v1/holds/{id}                  DELETE releases it; it stays in the list
//!  GET           /v1/deletions                   what was deleted, when, by which rule
//!  GET           /v1/storage                     what is kept, how fast it grows, whether it will fit
//!  GET, POST     /v1/storage/check               POST compares catalogue and disks; GET tells how that went
//!  POST          /v1/paths/{name}/record         recording on or off, live untouched
//!  GET           /v3/recordings/list
//!  GET           /v3/recordings/get/{name}
//!  DELETE        /v3/recordings/deletesegment    honours holds
//! ```
//!
//! Belongs here: parameters, answers, their wording. Does not: what is kept (-> `storage`, by [`Storage`]).
//! Limits: [`REASON_BYTES_MAX`], [`ACTOR_BYTES_MAX`].

use std::future::Future;
use std::pin::Pin;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path as UrlPath, Query, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::model::{Page, Time};
use crate::paging::{PageWanted, Paging, Piece, query};
use crate::storage_model::{CheckState, Deletion, Hold, Recording, RecordingSwitch, StorageStatus};
use crate::v3::ApiDeps;

/// The longest reason of a hold, in bytes.
pub const REASON_BYTES_MAX: usize = 2000;
/// The longest `by`, in bytes.
pub const ACTOR_BYTES_MAX: usize = 200;
/// `by` when the caller does not say; until users can sign in, it is a claim.
const ACTOR_DEFAULT: &str = "api";

/// An answer that may take a database.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// What the routes ask of the server's recordings.
pub trait Storage: Send + Sync {
    /// Places a hold.
    fn place_hold(&self, hold: HoldWanted) -> Answer<'_, Hold>;
    /// Holds, the newest first.
    fn holds(&self, wanted: HoldsWanted, page: PageWanted) -> Answer<'_, Piece<Hold>>;
    /// One hold; [`ApiError::HoldNotFound`].
    fn hold(&self, id: i64) -> Answer<'_, Hold>;
    /// Releases a hold; one that is released already stays as it is.
    fn release_hold(&self, id: i64, by: String) -> Answer<'_, Hold>;
    /// What was deleted, the newest deletion first.
    fn deletions(&self, wanted: DeletionsWanted, page: PageWanted) -> Answer<'_, Piece<Deletion>>;
    /// What is kept, and whether it will fit.
    fn status(&self) -> Answer<'_, StorageStatus>;
    /// Begins a check, or says that one runs.
    fn begin_check(&self) -> Answer<'_, CheckState>;
    /// How the last check went.
    fn check_state(&self) -> Answer<'_, CheckState>;
    /// Turns the recording of a path on or off; it stays so across restarts.
    fn set_recording(&self, path: String, wanted: Switch, by: String) -> Answer<'_, RecordingSwitch>;
    /// Recorded paths with their files.
    fn recordings(&self, page: PageWanted) -> Answer<'_, Piece<Recording>>;
    /// One path's files.
    fn recording(&self, path: String) -> Answer<'_, Recording>;
    /// Deletes the file that begins at a time.
    fn delete_segment(&self, path: String, start: Time, by: String) -> Answer<'_, ()>;
}

/// What an operator wants of a path's recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is recorded.
    On,
    /// It is not.
    Off,
}

/// A hold to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldWanted {
    /// Of which path.
    pub path: String,
    /// From when.
    pub start: Time,
    /// Until when; later than `start`.
    pub end: Time,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// Which holds are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldsWanted {
    /// Of one path.
    pub path: Option<String>,
    /// Those that hold, or those that were released.
    pub is_active: Option<bool>,
}

/// Which deletions are asked for: of media in a time range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionsWanted {
    /// Of one path.
    pub path: Option<String>,
    /// Media that ends after this.
    pub start: Option<Time>,
    /// Media that begins before this.
    pub end: Option<Time>,
}

/// The routes above.
pub(crate) fn routes() -> Router<ApiDeps> {
    Router::new()
        .route("/v1/holds", get(list_holds).post(place_hold))
        .route("/v1/holds/{id}", get(get_hold).delete(release_hold))
        .route("/v1/deletions", get(list_deletions))
        .route("/v1/storage", get(status))
        .route("/v1/storage/check", get(check_state).post(begin_check))
        .route("/v1/paths/{*rest}", post(set_recording))
        .route("/v3/recordings/list", get(list_recordings))
        .route("/v3/recordings/get/{*name}", get(get_recording))
        .route("/v3/recordings/deletesegment", delete(delete_segment))
}

/// `POST /v1/holds`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldBody {
    path: String,
    start: String,
    end: String,
    reason: String,
    by: Option<String>,
}

async fn place_hold(
    State(deps): State<ApiDeps>,
    body: Result<Json<HoldBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Hold>), ApiError> {
    let body = json(body)?;
    let (start, end) = (time("start", &body.start)?, time("end", &body.end)?);
    if end <= start {
        return Err(ApiError::InvalidParameter { name: "end", why: "it must be later than start" });
    }
    if body.reason.trim().is_empty() || body.reason.len() > REASON_BYTES_MAX {
        let why = "it must say why, in at most 2000 bytes";
        return Err(ApiError::InvalidParameter { name: "reason", why });
    }
    let hold = HoldWanted { path: body.path, start, end, reason: body.reason, by: actor(body.by)? };
    Ok((StatusCode::CREATED, Json(deps.storage.place_hold(hold).await?)))
}

/// `GET /v1/holds`.
#[derive(Deserialize)]
struct HoldsQuery {
    path: Option<String>,
    active: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

async fn list_holds(
    State(deps): State<ApiDeps>,
    asked: Result<Query<HoldsQuery>, QueryRejection>,
) -> Result<Json<Page<Hold>>, ApiError> {
    let asked = query(asked)?;
    let is_active = match asked.active.as_deref() {
        None | Some("") => None,
        Some("true" | "yes") => Some(true),
        Some("false" | "no") => Some(false),
        Some(_) => {
            return Err(ApiError::InvalidParameter { name: "active", why: "it must be true or false" });
        }
    };
    let page = asked.paging.wanted()?;
    let wanted = HoldsWanted { path: some_text(asked.path), is_active };
    Ok(Json(page.made(deps.storage.holds(wanted, page).await?)))
}

async fn get_hold(
    State(deps): State<ApiDeps>,
    id: Result<UrlPath<i64>, PathRejection>,
) -> Result<Json<Hold>, ApiError> {
    let UrlPath(id) = id.map_err(|_| ApiError::HoldNotFound)?;
    Ok(Json(deps.storage.hold(id).await?))
}

/// Who does it, for requests without a body.
#[derive(Deserialize)]
struct ActorQuery {
    by: Option<String>,
}

async fn release_hold(
    State(deps): State<ApiDeps>,
    id: Result<UrlPath<i64>, PathRejection>,
    asked: Result<Query<ActorQuery>, QueryRejection>,
) -> Result<Json<Hold>, ApiError> {
    let UrlPath(id) = id.map_err(|_| ApiError::HoldNotFound)?;
    Ok(Json(deps.storage.release_hold(id, actor(query(asked)?.by)?).await?))
}

/// `GET /v1/deletions`.
#[derive(Deserialize)]
struct DeletionsQuery {
    path: Option<String>,
    start: Option<String>,
    end: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

async fn list_deletions(
    State(deps): State<ApiDeps>,
    asked: Result<Query<DeletionsQuery>, QueryRejection>,
) -> Result<Json<Page<Deletion>>, ApiError> {
    let asked = query(asked)?;
    let page = asked.paging.wanted()?;
    let optional = |name, text| some_text(text).map(|text| time(name, &text)).transpose();
    let wanted = DeletionsWanted {
        path: some_text(asked.path),
        start: optional("start", asked.start)?,
        end: optional("end", asked.end)?,
    };
    Ok(Json(page.made(deps.storage.deletions(wanted, page).await?)))
}

async fn status(State(deps): State<ApiDeps>) -> Result<Json<StorageStatus>, ApiError> {
    Ok(Json(deps.storage.status().await?))
}

async fn begin_check(State(deps): State<ApiDeps>) -> Result<(StatusCode, Json<CheckState>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(deps.storage.begin_check().await?)))
}

async fn check_state(State(deps): State<ApiDeps>) -> Result<Json<CheckState>, ApiError> {
    Ok(Json(deps.storage.check_state().await?))
}

/// `POST /v1/paths/{name}/record`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordBody {
    enabled: bool,
    by: Option<String>,
}

async fn set_recording(
    State(deps): State<ApiDeps>,
    rest: Result<UrlPath<String>, PathRejection>,
    body: Result<Json<RecordBody>, JsonRejection>,
) -> Result<Json<RecordingSwitch>, ApiError> {
    let UrlPath(rest) = rest.map_err(|_| ApiError::PathNotFound)?;
    // Names have slashes, so the end of the address says what is meant.
    let name = rest.strip_suffix("/record").ok_or(ApiError::NoSuchEndpoint)?;
    let body = json(body)?;
    let wanted = if body.enabled { Switch::On } else { Switch::Off };
    Ok(Json(deps.storage.set_recording(name.to_owned(), wanted, actor(body.by)?).await?))
}

async fn list_recordings(
    State(deps): State<ApiDeps>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<Recording>>, ApiError> {
    let page = query(paging)?.wanted()?;
    Ok(Json(page.made(deps.storage.recordings(page).await?)))
}

async fn get_recording(
    State(deps): State<ApiDeps>,
    name: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<Recording>, ApiError> {
    let UrlPath(name) = name.map_err(|_| ApiError::PathNotFound)?;
    Ok(Json(deps.storage.recording(name).await?))
}

/// `DELETE /v3/recordings/deletesegment`.
#[derive(Deserialize)]
struct SegmentQuery {
    path: Option<String>,
    start: Option<String>,
    by: Option<String>,
}

/// MediaMTX's answer to what was done.
#[derive(Serialize)]
pub(crate) struct Done {
    status: &'static str,
}

impl Done {
    pub(crate) const OK: Self = Self { status: "ok" };
}

async fn delete_segment(
    State(deps): State<ApiDeps>,
    asked: Result<Query<SegmentQuery>, QueryRejection>,
) -> Result<Json<Done>, ApiError> {
    let asked = query(asked)?;
    let start = time("start", &asked.start.unwrap_or_default())?;
    deps.storage.delete_segment(asked.path.unwrap_or_default(), start, actor(asked.by)?).await?;
    Ok(Json(Done::OK))
}

fn json<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    body.map(|Json(body)| body).map_err(|error| ApiError::InvalidBody { why: error.body_text() })
}

fn time(name: &'static str, text: &str) -> Result<Time, ApiError> {
    let why = "it must be an RFC 3339 time such as 2026-11-25T19:30:05.5Z";
    let time: jiff::Timestamp = text.parse().map_err(|_| ApiError::InvalidParameter { name, why })?;
    Ok(Time { unix_us: time.as_microsecond() })
}

fn actor(by: Option<String>) -> Result<String, ApiError> {
    let by = some_text(by).unwrap_or_else(|| ACTOR_DEFAULT.to_owned());
    let why = "it must be at most 200 bytes";
    if by.len() > ACTOR_BYTES_MAX { Err(ApiError::InvalidParameter { name: "by", why }) } else { Ok(by) }
}

/// An empty parameter counts as absent.
fn some_text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
