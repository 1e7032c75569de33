//! WHEP viewer: a WebRTC peer on str0m and a socket of its own, that decrypts all it gets.
//!
//! Spec: draft-ietf-wish-whep, RFC 6184. The offer is complete (no trickle).

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use str0m::change::SdpAnswer;
use str0m::config::CryptoProvider;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;

use super::Viewer;
use crate::frames::Sound;
use crate::rtp::{Assembler, Packet, Sequencer};

/// Larger than any datagram of WebRTC.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Datagrams read before the peer's own output has its turn.
const BATCH: usize = 64;
/// From the offer to the first picture.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
static CRYPTO: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(str0m::crypto::from_feature_flags()));

/// Watches until something goes wrong.
///
/// # Errors
/// What went wrong.
pub(super) async fn watch(viewer: &Viewer, url: &str) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
    let local = socket.local_addr()?;
    let session = match viewer.index.sound {
        // A server that can't send this sound may refuse the whole offer.
        Sound::Yes => match Session::begin(url, local, Sound::Yes).await {
            Ok(session) => session,
            Err(_) => Session::begin(url, local, Sound::No).await?,
        },
        Sound::No => Session::begin(url, local, Sound::No).await?,
    };
    let Session { rtc, video, _end } = session;
    let (packets, assembler) = (Sequencer::new(), Assembler::new());
    let peer = Peer { viewer, rtc, socket, local, video, packets, assembler, begun: Instant::now() };
    Box::pin(peer.run()).await
}

/// A session that the server has agreed to.
struct Session {
    rtc: Rtc,
    video: Mid,
    _end: EndOnDrop,
}

impl Session {
    async fn begin(url: &str, local: SocketAddr, sound: Sound) -> anyhow::Result<Self> {
        let config = RtcConfig::new().set_crypto_provider(Arc::clone(&CRYPTO)).set_rtp_mode(true);
        let config = config.clear_codecs().enable_h264(true).enable_opus(true, false);
        let mut rtc = config.build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let mut change = rtc.sdp_api();
        let video = change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        if sound == Sound::Yes {
            change.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = change.apply().context("no offer")?;
        let request = HTTP.post(url).header(CONTENT_TYPE, "application/sdp").body(offer.to_sdp_string());
        let answer = request.send().await?;
        let (status, base) = (answer.status(), answer.url().clone());
        let location =
            answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = answer.text().await?;
        ensure!(status == 201, "{status}: {text}");
        let end = EndOnDrop(base.join(&location.context("no Location")?)?);
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&text)?)?;
        Ok(Self { rtc, video, _end: end })
    }
}

/// The session's address; the server is asked to end it when this is dropped.
struct EndOnDrop(reqwest::Url);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let (client, url) = (HTTP.clone(), self.0.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody waits: the server forgets a silent viewer by itself too.
            drop(runtime.spawn(async move { client.delete(url).send().await }));
        }
    }
}

struct Peer<'a> {
    viewer: &'a Viewer,
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    video: Mid,
    packets: Sequencer<RtpPacket>,
    assembler: Assembler,
    begun: Instant,
}

impl Peer<'_> {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            let due = self.drain()?;
            let is_late = self.begun.elapsed() > CONNECT_LIMIT && self.viewer.first_picture().is_none();
            ensure!(!is_late, "no picture within {CONNECT_LIMIT:?}");
            tokio::select! {
                readable = self.socket.readable() => readable?,
                () = tokio::time::sleep_until(due.into()) => {}
            }
            self.read(&mut buffer)?;
            self.rtc.handle_input(Input::Timeout(Instant::now()))?;
        }
    }

    /// Takes in what has arrived.
    fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        for _ in 0..BATCH {
            let (count, source) = match self.socket.try_recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.viewer.bytes(count);
            let contents = buffer.get(..count).unwrap_or_default().try_into()?;
            let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive))?;
            self.drain()?;
        }
        Ok(())
    }

    /// Sends and takes events until there is nothing but a time to wait for. A datagram that the socket
    /// does not take at once is lost, as on a network.
    fn drain(&mut self) -> anyhow::Result<Instant> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(due) => return Ok(due),
                Output::Transmit(out) => match self.socket.try_send_to(&out.contents, out.destination) {
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error.into()),
                    _ => {}
                },
                Output::Event(event) => self.take(event)?,
            }
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => bail!("disconnected"),
            Event::RtpPacket(packet) => {
                // The picture's packets; sound is decrypted and left at that.
                if self
                    .rtc
                    .direct_api()
                    .stream_rx(&packet.header.ssrc)
                    .is_some_and(|rx| rx.mid() == self.video)
                {
                    self.packets.push(*packet.seq_no, packet);
                }
                while let Some(packet) = self.packets.pop() {
                    let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
                    let ended = self.assembler.push(&Packet { timestamp, marker, payload: &packet.payload });
                    if let Some(identity) = ended {
                        self.viewer.pictures(&[identity], SystemTime::now());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
