//! Check: which requests are in order in which state, and the status of those that are not (RFC 2326 s10, s11.3, app. A).

use rtsp_types::headers;
use rtsp_types::{Method, Request, ResponseBuilder, StatusCode, Version};

use super::exchange::{ServerTransport, SetupRequest};
use super::request::{self, Mode, Target, TransportOffer};
use super::{Event, Purpose, ServerConnection, Session, State, header, with_phrase, without_credentials};
use crate::rtsp::sdp;
use crate::track::TRACKS_MAX;

/// What is answered to OPTIONS.
const PUBLIC: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, ANNOUNCE, RECORD, GET_PARAMETER, SET_PARAMETER";

/// What came of checking a request.
pub(super) enum Checked {
    Answered(ResponseBuilder),
    Teardown,
    Asks(Purpose, Event),
}

impl ServerConnection {
    /// What a request comes to as things stand; the status that refuses it where it is wrong in itself.
    pub(super) fn check(&self, request: &Request<Vec<u8>>) -> Result<Checked, StatusCode> {
        if request.version() != Version::V1_0 {
            return Err(StatusCode::RTSPVersionNotSupported);
        }
        // correctness: R1 (RFC 2326 s12.32: an option that we do not know must be refused)
        if header(request, &headers::REQUIRE).is_some() {
            return Err(StatusCode::OptionNotSupported);
        }
        let session = self.check_session(request)?;
        let ok = || with_phrase(StatusCode::Ok);
        match request.method() {
            Method::Options => Ok(Checked::Answered(ok().header(headers::PUBLIC, PUBLIC))),
            // Asked for no parameter they are keep-alives; of parameters we have none.
            Method::GetParameter | Method::SetParameter => match request.body().is_empty() {
                true => Ok(Checked::Answered(ok())),
                false => Err(StatusCode::ParameterNotUnderstood),
            },
            Method::Describe => Ok(Checked::Asks(Purpose::Describe, Event::Describe(target(request)?))),
            Method::Setup => self.check_setup(request),
            Method::Play => {
                let session = session.ok_or(StatusCode::SessionNotFound)?;
                check_aggregate(session, &target(request)?)?;
                match (session.mode, session.state) {
                    (Mode::Play, State::Ready) => Ok(Checked::Asks(Purpose::Play, Event::Play)),
                    // Again while playing: nothing new (RFC 2326 s10.5 queues ranges, live has none).
                    (Mode::Play, State::Playing) => Ok(Checked::Answered(ok())),
                    _ => Err(StatusCode::MethodNotValidInThisState),
                }
            }
            Method::Pause => {
                let session = session.ok_or(StatusCode::SessionNotFound)?;
                match (session.mode, session.state) {
                    (Mode::Play, State::Playing) => Ok(Checked::Asks(Purpose::Pause, Event::Pause)),
                    (Mode::Play, State::Ready) => Ok(Checked::Answered(ok())),
                    _ => Err(StatusCode::MethodNotValidInThisState),
                }
            }
            Method::Teardown => {
                session.ok_or(StatusCode::SessionNotFound)?;
                Ok(Checked::Teardown)
            }
            Method::Announce => self.check_announce(request),
            Method::Record => {
                let session = session.ok_or(StatusCode::SessionNotFound)?;
                match (session.mode, session.state) {
                    (Mode::Record, State::Ready) => Ok(Checked::Asks(Purpose::Record, Event::Record)),
                    _ => Err(StatusCode::MethodNotValidInThisState),
                }
            }
            _ => Err(StatusCode::NotImplemented),
        }
    }

    /// The session that a request names; one that names another is told so (correctness: R1, S4).
    fn check_session(&self, request: &Request<Vec<u8>>) -> Result<Option<&Session>, StatusCode> {
        let named = header(request, &headers::SESSION).map(|id| id.split(';').next().unwrap_or_default());
        match named {
            None => Ok(None),
            Some(id) if id.trim() == self.config.session_id => {
                self.session.as_ref().map(Some).ok_or(StatusCode::SessionNotFound)
            }
            Some(_) => Err(StatusCode::SessionNotFound),
        }
    }

    fn check_setup(&self, request: &Request<Vec<u8>>) -> Result<Checked, StatusCode> {
        let target = target(request)?;
        let transport = header(request, &headers::TRANSPORT).ok_or(StatusCode::BadRequest)?;
        let (mut offers, mode) = request::offers(transport);
        match (&self.session, &self.announced) {
            (Some(session), _) => {
                let is_more = session.state == State::Ready
                    && session.mode == mode
                    && session.tracks.len() < TRACKS_MAX
                    && header(request, &headers::SESSION).is_some();
                // Without the session's id it asks for a second session, of which a connection has none.
                if !is_more || session.tracks.iter().any(|known| Some(known.track) == target.track) {
                    return Err(StatusCode::MethodNotValidInThisState);
                }
                if !belongs(&target, &session.target, mode) {
                    return Err(StatusCode::AggregateOperationNotAllowed);
                }
                // All tracks travel as the first one does.
                let first = session.tracks.first().map(|track| track.transport);
                offers.retain(|offer| {
                    matches!(
                        (offer, first),
                        (TransportOffer::Tcp { .. }, Some(ServerTransport::Tcp { .. }))
                            | (TransportOffer::Udp { .. }, Some(ServerTransport::Udp { .. }))
                            | (TransportOffer::Multicast, Some(ServerTransport::Multicast { .. }))
                    )
                });
            }
            (None, Some(announced)) => {
                if mode != Mode::Record || !belongs(&target, announced, mode) {
                    return Err(StatusCode::MethodNotValidInThisState);
                }
            }
            (None, None) if mode == Mode::Record => return Err(StatusCode::MethodNotValidInThisState),
            (None, None) => {}
        }
        if offers.is_empty() {
            return Err(StatusCode::UnsupportedTransport);
        }
        let url = request.request_uri().map(without_credentials).unwrap_or_default();
        let purpose = Purpose::Setup { target: target.clone(), mode };
        Ok(Checked::Asks(purpose, Event::Setup(SetupRequest { target, url, offers, mode })))
    }

    fn check_announce(&self, request: &Request<Vec<u8>>) -> Result<Checked, StatusCode> {
        if self.session.is_some() || self.announced.is_some() {
            return Err(StatusCode::MethodNotValidInThisState);
        }
        let is_sdp = header(request, &headers::CONTENT_TYPE)
            .is_some_and(|kind| kind.trim().to_ascii_lowercase().starts_with("application/sdp"));
        if !is_sdp {
            return Err(StatusCode::UnsupportedMediaType);
        }
        let target = target(request)?;
        let url = request.request_uri().map(without_credentials).unwrap_or_default();
        let medias = sdp::parse(request.body(), &url).map_err(|_| StatusCode::BadRequest)?;
        let purpose = Purpose::Announce { target: target.clone() };
        Ok(Checked::Asks(purpose, Event::Announce { target, medias }))
    }
}

fn target(request: &Request<Vec<u8>>) -> Result<Target, StatusCode> {
    request.request_uri().map(Target::of).ok_or(StatusCode::BadRequest)
}

/// Whether a track's URL is of a presentation. A publisher names its tracks itself, below its own URL.
fn belongs(track: &Target, presentation: &Target, mode: Mode) -> bool {
    let is_below = || {
        let rest = track.path.strip_prefix(&presentation.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    track.is_same_presentation(presentation) || (mode == Mode::Record && is_below())
}

/// PLAY is for all tracks at once: on the URL of one of several it is refused (RFC 2326 s11.3.10, 460).
fn check_aggregate(session: &Session, target: &Target) -> Result<(), StatusCode> {
    if !session.target.is_same_presentation(target) {
        return Err(StatusCode::SessionNotFound);
    }
    match target.track {
        Some(_) if session.tracks.len() > 1 => Err(StatusCode::OnlyAggregateOperationAllowed),
        _ => Ok(()),
    }
}
