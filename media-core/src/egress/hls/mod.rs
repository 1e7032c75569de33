//! LL-HLS: the live window of a stream, its playlists and what a request gets.
