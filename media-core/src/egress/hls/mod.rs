//! LL-HLS: the live window of a stream, its playlists, and what a request gets.
//!
//! ```text
//!  fmp4::Event ─► Window::apply ─► Window::commit ─► Rendered { full, delta }   once a part and only if asked, for all viewers
//!  query ─► Directives ─► Window::answer(held so far) ─► Now | Wait | BadRequest | Unavailable
//!  name  ─► MediaName ──► Window::media(grant) ─────────► Now | Wait | NotFound
//! ```
//!
//! Belongs here: what is listed, kept and answered. Does not: sockets, compression, waiting
//! (-> server::egress::hls), boxes (-> remux::fmp4).
//! Spec: draft-pantos-hls-rfc8216bis (LL-HLS), cited as rfc8216bis.

pub mod multivariant;
pub mod names;
mod playlist;
pub mod recorded;
pub mod request;
pub mod window;

#[cfg(test)]
mod tests;

pub use names::{MediaName, Prefix};
pub use request::{Answer, BadDirective, Directives};
pub use window::{Audience, Media, MediaAnswer, Rendered, SequenceStart, Variant, Window, WindowConfig};
