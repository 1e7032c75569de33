//! Session id: the last part of `/get/{id}` and `/kick/{id}`, and a destination's; a UUID, as MediaMTX's are. What is none is 400,
//! not 404.

use crate::error::ApiError;

/// The digits of a UUID's groups (RFC 9562 s4).
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// Whether it can be the id of a session, a connection or a destination.
///
/// # Errors
/// [`ApiError::InvalidParameter`].
pub(crate) fn check(id: &str) -> Result<(), ApiError> {
    match is_uuid(id) {
        true => Ok(()),
        false => Err(ApiError::InvalidParameter { name: "id", why: "it must be a UUID" }),
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
