//! Storage: recordings on disk and in object stores, their catalogue, retention, playback and export.
//!
//! Nothing is here yet: the crate holds the place that the arrows between crates give it
//! (ARCHITECTURE.md). It may import `media-core` and nothing else of ours.
