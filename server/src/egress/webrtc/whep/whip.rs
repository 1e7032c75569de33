//! WHIP: who publishes with WebRTC (RFC 9725).
//!
//! A path that is not published to is 400, one that somebody publishes to and may not be replaced 409.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{StatusCode, header};
use media_core::egress::webrtc::track_map::Offer;
use media_core::gate::Action;
use media_core::path_name::PathName;
use tokio_util::sync::CancellationToken;

use super::{RETRY_AFTER_SECS, Refusal, SDP, admit, created, is_content_type, open, read_body};
use crate::egress::webrtc::WebRtcServer;
use crate::egress::webrtc::media::Media;
use crate::egress::webrtc::receiver::{self, MediaReceiver};
use crate::events::Origin;
use crate::ingest::publish::PublishError;

pub(super) async fn post(
    server: &Arc<WebRtcServer>,
    path: PathName,
    head: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    if !is_content_type(&head.headers, SDP) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "content type must be application/sdp"));
    }
    let publisher = admit(server, (path, Action::Publish), head).await?;
    let offer = read_body(body).await?;
    let point = server.deps.registry.publish_point(publisher.grant.path());
    let point = point.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "path is not one to publish to"))?;
    let seat = point.take_seat();
    let parsed = Offer::parse(&offer).and_then(|offer| Ok((offer.choose_published()?, offer)));
    let (map, offer) = parsed.map_err(|error| Refusal::unservable(&error, None))?;
    let ended = CancellationToken::new();
    let facts = publisher.facts();
    let origin = Origin { kind: "webRTCSession", id: facts.id.to_string(), query: facts.query };
    let media = async || {
        let publication = point.begin(&publisher.grant, &receiver::medias(&map), origin, &ended).await?;
        Ok(Media::Publisher(Box::new(MediaReceiver::new(publication, seat, ended.clone(), &map))))
    };
    let opened = open(server, &publisher, (&offer, &map), media).await?;
    Ok(created(server, &publisher, "whip", opened))
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        let status = match error {
            PublishError::Taken { .. } => StatusCode::CONFLICT,
            PublishError::Closed { .. } => StatusCode::NOT_FOUND,
            PublishError::Tracks(_) => StatusCode::BAD_REQUEST,
        };
        let refusal = Self::new(status, error.to_string());
        match status {
            StatusCode::CONFLICT => refusal.with(header::RETRY_AFTER, RETRY_AFTER_SECS),
            _ => refusal,
        }
    }
}
