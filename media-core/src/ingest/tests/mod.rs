//! Tests of the whole way from RTP packets to access units, on packets that other programs made.

mod clips;
mod hostile;
mod quirks;
mod rig;
