//! Black box: the shipped programs against real peers, one module per promise.

#[cfg(test)]
mod access;
#[cfg(test)]
mod access_live;
#[cfg(test)]
mod always_available;
#[cfg(test)]
mod archive;
#[cfg(test)]
mod bucket;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod config_api;
#[cfg(test)]
mod configurations;
#[cfg(test)]
mod day;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod endurance;
#[cfg(test)]
mod exports;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod forward_others;
#[cfg(test)]
mod glass;
#[cfg(test)]
mod hls_sessions;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod jitter;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod kicks;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod multicast;
#[cfg(test)]
mod path_settings;
#[cfg(test)]
mod patterns;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod playback;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod program;
#[cfg(test)]
mod publisher_page;
#[cfg(test)]
mod pulled_hls;
#[cfg(test)]
mod pulled_rtmp;
#[cfg(test)]
mod pulled_whep;
#[cfg(test)]
mod recorded_hls;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rtmp;
#[cfg(test)]
mod rtsp;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod thumbnails;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod whep;
#[cfg(test)]
mod whip;
