/**
 * @file Publisher: captures what was chosen and keeps it on its way to the server.
 *
 *      idle ─start─► capturing ─► connecting ─► live
 *       ▲               │            ▲  │         │
 *       │               ▼            │  ▼         │
 *       └─stop─ failed (a word)     waiting ◄─────┘ network, unreachable
 *
 * Belongs here: devices, RTCPeerConnection, when to try again. Does not: HTTP and SDP text (-> player/whep.js), what follows from what
 * (-> choice.js), the page (-> page.js).
 */

import { onTransportEnd } from '../player/webrtc-source.js';
import { IceServers, WhepError, WhepSession } from '../player/whep.js';
import {
  cameraConstraints, captureTrouble, codecsFor, retryAfterMs, screenConstraints, sessionTrouble, soundConstraints,
} from './choice.js';

/** The time within which a server that has answered must be reached. */
const CONNECT_MS = 15_000;

/**
 * @typedef {'idle' | 'capturing' | 'connecting' | 'live' | 'waiting' | 'failed'} State
 * @typedef {import('./choice.js').Choice} Choice
 * @typedef {import('./choice.js').Trouble} Trouble
 */

export class Publisher {
  #url;
  #onChange;
  #iceServers;
  /** @type {State} */ #state = 'idle';
  /** @type {Trouble | null} */ #trouble = null;
  #since = performance.now();
  #failures = 0;
  /** @type {Choice | null} */ #choice = null;
  /** @type {MediaStream | null} */ #media = null;
  /** @type {{close: () => void} | null} */ #session = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {object} options
   * @param {string} options.url WHIP endpoint
   * @param {() => void} options.onChange
   */
  constructor({ url, onChange }) {
    this.#url = url;
    this.#onChange = onChange;
    this.#iceServers = new IceServers(url, fetch.bind(globalThis));
  }

  /** @returns {{state: State, trouble: Trouble | null, sinceMs: number, media: MediaStream | null}} */
  view() {
    const sinceMs = performance.now() - this.#since;
    return { state: this.#state, trouble: this.#trouble, sinceMs, media: this.#media };
  }

  /** @param {Choice} choice */
  async start(choice) {
    this.stop();
    if (navigator.mediaDevices === undefined) {
      this.#fail('insecure');
      return;
    }
    this.#choice = choice;
    this.#enter('capturing');
    let media;
    try {
      media = await capture(choice);
    } catch (error) {
      if (this.#choice === choice) this.#fail(captureTrouble(error));
      return;
    }
    // Stopped, or begun anew, while the browser was asking.
    if (this.#choice !== choice) {
      end(media);
      return;
    }
    this.#media = media;
    for (const track of media.getTracks()) track.addEventListener('ended', () => this.#captureEnded(media));
    this.#connect(choice, media);
  }

  /** Ends everything; what was said of a trouble is forgotten. */
  stop() {
    this.#release();
    this.#trouble = null;
    this.#failures = 0;
    this.#enter('idle');
  }

  /**
   * @param {Choice} choice
   * @param {MediaStream} media
   */
  #connect(choice, media) {
    this.#enter('connecting');
    this.#session = openSession({
      url: this.#url,
      choice,
      media,
      iceServers: this.#iceServers,
      onConnected: () => {
        clearTimeout(this.#timer);
        this.#failures = 0;
        this.#trouble = null;
        this.#enter('live');
      },
      onFailure: (error) => this.#failed(error),
    });
    this.#timer = setTimeout(() => this.#failed(new WhepError('ice', 'no connection in time')), CONNECT_MS);
  }

  /** @param {WhepError} error */
  #failed(error) {
    this.#session?.close();
    this.#session = null;
    clearTimeout(this.#timer);
    this.#failures += 1;
    const trouble = sessionTrouble(error);
    const wait = retryAfterMs(trouble, this.#failures);
    const [choice, media] = [this.#choice, this.#media];
    if (wait === null || choice === null || media === null) {
      this.#fail(trouble);
      return;
    }
    this.#trouble = trouble;
    this.#enter('waiting');
    this.#timer = setTimeout(() => this.#connect(choice, media), wait);
  }

  /** @param {MediaStream} media */
  #captureEnded(media) {
    if (this.#media === media) this.#fail('ended');
  }

  /** @param {Trouble} trouble */
  #fail(trouble) {
    this.#release();
    this.#trouble = trouble;
    this.#enter('failed');
  }

  #release() {
    clearTimeout(this.#timer);
    this.#session?.close();
    this.#session = null;
    if (this.#media !== null) end(this.#media);
    this.#media = null;
    this.#choice = null;
  }

  /** @param {State} state */
  #enter(state) {
    if (this.#state !== state) this.#since = performance.now();
    this.#state = state;
    this.#onChange();
  }
}

/**
 * @param {Choice} choice
 * @returns {Promise<MediaStream>}
 */
async function capture(choice) {
  const devices = navigator.mediaDevices;
  if (choice.source === 'camera') return devices.getUserMedia(cameraConstraints(choice));
  const media = await devices.getDisplayMedia(screenConstraints());
  const audio = soundConstraints(choice.microphone);
  if (audio === false) return media;
  try {
    const sound = await devices.getUserMedia({ audio });
    sound.getTracks().forEach((track) => media.addTrack(track));
    return media;
  } catch (error) {
    end(media);
    throw error;
  }
}

/** @param {MediaStream} media */
function end(media) {
  for (const track of media.getTracks()) track.stop();
}

/**
 * @param {object} options
 * @param {string} options.url
 * @param {Choice} options.choice
 * @param {MediaStream} options.media
 * @param {IceServers} options.iceServers
 * @param {() => void} options.onConnected
 * @param {(error: WhepError) => void} options.onFailure called once at most
 * @returns {{close: () => void}}
 */
function openSession({ url, choice, media, iceServers, onConnected, onFailure }) {
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const session = new WhepSession({ url, peer, iceServers, fetchFn: fetch.bind(globalThis) });
  let open = true;
  let connected = false;

  /** @param {WhepError} error */
  const fail = (error) => {
    if (!open) return;
    open = false;
    onFailure(error);
  };

  for (const track of media.getTracks()) addTrack(peer, media, track, choice);
  peer.addEventListener('connectionstatechange', () => {
    if (!open) return;
    if (peer.connectionState === 'connected' && !connected) {
      connected = true;
      onConnected();
    }
    if (peer.connectionState !== 'failed') return;
    fail(connected ? new WhepError('network', 'connection lost') : new WhepError('ice', 'no way for media'));
  });
  session
    .open(performance.now())
    .then(() => onTransportEnd(peer, (how) => fail(new WhepError('network', `media ${how} by the server`))))
    .catch((error) => fail(error instanceof WhepError ? error : new WhepError('media', String(error))));

  return {
    close() {
      open = false;
      session.close();
      peer.close();
    },
  };
}

/**
 * @param {RTCPeerConnection} peer
 * @param {MediaStream} media
 * @param {MediaStreamTrack} track
 * @param {Choice} choice
 */
function addTrack(peer, media, track, { source, codec, bitrateKbps }) {
  if (track.kind !== 'video') {
    peer.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    return;
  }
  if (source === 'screen') track.contentHint = 'detail';
  const sendEncodings = [{ maxBitrate: bitrateKbps * 1000 }];
  const transceiver = peer.addTransceiver(track, { direction: 'sendonly', streams: [media], sendEncodings });
  transceiver.setCodecPreferences(codecsFor(RTCRtpSender.getCapabilities('video')?.codecs ?? [], codec));
}
