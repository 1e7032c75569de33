//! Session id: the last part of `/get/{id}` and `/kick/{id}`; a UUID, as MediaMTX's are. What is none is 400, not 404.

use axum::extract::{FromRequestParts, Path as UrlPath};
use http::request::Parts;

use crate::error::ApiError;

/// The digits of a UUID's groups (RFC 9562 s4).
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// The id of a session or a connection.
pub(crate) struct SessionId(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for SessionId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = UrlPath::<String>::from_request_parts(parts, state).await;
        match id {
            Ok(UrlPath(id)) if is_uuid(&id) => Ok(Self(id)),
            _ => Err(ApiError::InvalidParameter { name: "id", why: "it must be a UUID" }),
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('-').map(str::len).eq(GROUPS) && text.split('-').all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_an_id() {
        assert!(is_uuid("6a3f8a10-1b2c-4d5e-8f90-0123456789AB"));
        for text in
            ["", "one", "6a3f8a101b2c4d5e8f900123456789ab", "6a3f8a10-1b2c-4d5e-8f90-0123456789ag", "----"]
        {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
