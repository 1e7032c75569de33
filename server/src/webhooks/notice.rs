//! Notice: one event as webhooks are told of it: JSON, and how it is signed.
//!
//! ```text
//!  {"event": "reader.connected", "path": "cam_1", "time": "2026-11-26T04:00:00.123456Z", "id": UUID, "data": {..}}
//! ```
//!
//! Spec: Standard Webhooks 1.0: headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, which is HMAC-SHA256 over id,
//! time stamp and body. A repeated delivery has the same id and body, and a time stamp of its own.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use control_api::model::Time;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::EventKind;

/// A secret that begins so is base64 behind it, as the standard's libraries make them; any other is taken as it is.
const ENCODED: &str = "whsec_";

/// An event as it is sent. Made once, whoever is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) id: String,
    pub(super) at: WallTime,
    pub(super) body: Bytes,
}

impl Notice {
    pub(super) fn new(kind: EventKind, path: Option<&PathName>, data: &Json, at: WallTime) -> Self {
        let id = Uuid::new_v4().to_string();
        let body = json!({
            "event": kind.as_str(),
            "path": path.map(PathName::as_str),
            "time": Time { unix_us: at.unix_us() },
            "id": id,
            "data": data,
        });
        Self { id, at, body: body.to_string().into() }
    }

    /// What a receiver checks; `timestamp` is in seconds.
    pub(super) fn signature(&self, secret: &str, timestamp: i64) -> String {
        let decoded = secret.strip_prefix(ENCODED).and_then(|text| STANDARD.decode(text).ok());
        let key = hmac::Key::new(hmac::HMAC_SHA256, decoded.as_deref().unwrap_or(secret.as_bytes()));
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{}.{timestamp}.", self.id).as_bytes());
        context.update(&self.body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own document.
    #[test]
    fn signature_is_the_standards() {
        let body = Bytes::from_static(br#"{"test": 2432232314}"#);
        let notice = Notice { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(), at: WallTime(0), body };
        let signature = notice.signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
