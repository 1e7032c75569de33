//! Harness: what black-box tests share to start real programs and ask them things.
//!
//! ```text
//!  camera-sim / GStreamer ──RTSP──► gtvision ──HLS, WHEP──► ffmpeg, browsers, aiortc, llhls
//!  (simulator, peers)               (server)                (ffmpeg, peers, llhls)
//! ```
//!
//! Belongs here: starting and stopping programs, waiting, clients, checkers that read
//! what the server sent. Does not: expectations about one behaviour (-> black_box/).
//! Invariant: nothing here imports the crates under test; an expected value comes from
//! a specification or from a program that was not written here.

pub mod bitstream;
pub mod browser;
pub mod clips;
pub mod disk_log;
pub mod ffmpeg;
pub mod fmp4;
pub mod gstreamer;
pub mod http;
pub mod latency;
pub mod llhls;
pub mod machine;
pub mod metrics;
pub mod nginx;
pub mod peers;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod recording;
pub mod relay;
pub mod rtmp;
pub mod rtsp;
pub mod s3;
pub mod server;
pub mod shim;
pub mod simulator;
pub mod wait;
pub mod workspace;

pub use server::Server;
pub use simulator::Simulator;
