/**
 * @file WebRTC source: a WHEP session's media put into a <video>.
 *
 * Belongs here: RTCPeerConnection and its tracks. Does not: HTTP and SDP text (-> whep.js), retries (-> recovery.js).
 */

import { WhepError, WhepSession } from './whep.js';

/**
 * @typedef {'asking' | 'connecting' | 'connected'} Stage waiting for the server; for a way for media; or had one
 *
 * @typedef {object} SourceContext
 * @property {HTMLVideoElement} video
 * @property {string} url
 * @property {(failure: import('./recovery.js').Failure & {fallbackUrl?: string}) => void} onFailure called once at most
 *
 * @typedef {object} Source
 * @property {() => void} close
 * @property {() => Stage} stage
 * @property {() => Record<string, number | string | null>} stats
 */

/**
 * @param {SourceContext & {iceServers: import('./whep.js').IceServers}} context
 * @returns {Source}
 */
export function openWebRtc({ video, url, onFailure, iceServers }) {
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const stream = new MediaStream();
  const session = new WhepSession({ url, peer, iceServers, fetchFn: fetch.bind(globalThis) });
  let open = true;
  /** @type {Stage} */
  let stage = 'asking';

  /** @param {WhepError} error */
  const fail = (error) => {
    if (!open) return;
    const { kind, message, retryAfterMs, fallbackUrl } = error;
    onFailure({ kind, message, retryAfterMs, fallbackUrl });
  };

  for (const kind of /** @type {const} */ (['video', 'audio'])) {
    offerEveryCodec(peer.addTransceiver(kind, { direction: 'recvonly' }), kind);
  }
  peer.addEventListener('track', ({ track, receiver }) => {
    playAtOnce(receiver);
    stream.addTrack(track);
    if (video.srcObject !== stream) video.srcObject = stream;
  });
  peer.addEventListener('connectionstatechange', () => {
    if (peer.connectionState === 'connected') stage = 'connected';
    if (peer.connectionState !== 'failed') return;
    fail(stage === 'connected' ? new WhepError('network', 'media lost') : new WhepError('ice', 'no way for media'));
  });
  session
    .open(performance.now())
    .then(() => {
      if (stage === 'asking') stage = 'connecting';
      onTransportEnd(peer, (how) => fail(new WhepError('network', `media ${how} by the server`)));
    })
    .catch((error) => {
      fail(error instanceof WhepError ? error : new WhepError('media', String(error)));
    });

  return {
    close() {
      open = false;
      session.close();
      peer.close();
      if (video.srcObject === stream) video.srcObject = null;
    },
    stage: () => stage,
    stats: () => ({ connection: peer.connectionState, latencyS: null }),
  };
}

/**
 * Calls back when the server says goodbye (DTLS close_notify, an alert). The connection's own state tells so only when
 * ICE has missed its checks for some seconds, in Chromium as in Firefox.
 * @param {RTCPeerConnection} peer with its answer
 * @param {(how: 'closed' | 'failed') => void} onEnd
 */
export function onTransportEnd(peer, onEnd) {
  // One for all media (max-bundle); an older browser may not show it.
  const transport = [...peer.getReceivers(), ...peer.getSenders()].find((end) => end.transport)?.transport;
  transport?.addEventListener('statechange', () => {
    const { state } = transport;
    if (state === 'closed' || state === 'failed') onEnd(state);
  });
}

/**
 * States every codec that the browser can receive, H.265 among them where it can: some leave it out of the default
 * offer although they list it.
 * @param {RTCRtpTransceiver} transceiver
 * @param {'video' | 'audio'} kind
 */
function offerEveryCodec(transceiver, kind) {
  const codecs = RTCRtpReceiver.getCapabilities?.(kind)?.codecs;
  if (codecs === undefined || codecs.length === 0) return;
  try {
    transceiver.setCodecPreferences(codecs);
  } catch {
    // The default offer is then the best there is.
  }
}

/**
 * Asks for no jitter buffer beyond what the network forces; the browser raises it by itself when packets come late.
 * @param {RTCRtpReceiver & {jitterBufferTarget?: number | null, playoutDelayHint?: number}} receiver
 */
function playAtOnce(receiver) {
  if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
  if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = 0;
}
