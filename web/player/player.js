/**
 * @file Player: keeps one <video> playing one camera whatever happens, by driving recovery.js and mode.js.
 *
 *      browser events, pictures, timers ──► Recovery ──► open / close ──► source (HLS or WebRTC)
 *
 * Belongs here: timers, the clock, the source in use, the last picture. Does not: buttons and words (-> page.js).
 */

import { openHls } from './hls-source.js';
import { ModeChoice } from './mode.js';
import { watchPictures } from './pictures.js';
import { Recovery } from './recovery.js';
import { openWebRtc } from './webrtc-source.js';
import { IceServers } from './whep.js';

/**
 * @typedef {import('./recovery.js').Action} Action
 * @typedef {import('./recovery.js').Failure & {fallbackUrl?: string}} Failure
 * @typedef {import('./webrtc-source.js').Source} Source
 *
 * @typedef {object} PlayerOptions
 * @property {HTMLVideoElement} video
 * @property {HTMLCanvasElement} lastPicture covers the video while it has no picture; hidden by the `hidden` attribute
 * @property {import('./mode.js').Mode} mode
 * @property {string} hlsUrl playlist
 * @property {string} [whepUrl] needed for mode 'webrtc'
 * @property {import('./hls-source.js').Profile} profile
 * @property {() => void} [onChange] the view may differ now; also called each second while there is no picture
 */

/** While there is no picture the view is renewed this often, ms. */
const TICK_MS = 1000;
/** The kept picture is not wider than this, px; it is dimmed and short-lived. */
const LAST_PICTURE_WIDTH_MAX = 1280;

export class Player {
  #options;
  #recovery = new Recovery(Math.random);
  #mode;
  #hlsUrl;
  #iceServers;
  /** @type {Source | null} */ #source = null;
  /** @type {(() => void) | null} */ #stopWatching = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #ticker;
  #pictures = 0;
  #listeners = new AbortController();

  /** @param {PlayerOptions} options */
  constructor(options) {
    this.#options = options;
    this.#mode = new ModeChoice(options.mode);
    this.#hlsUrl = options.hlsUrl;
    this.#iceServers = new IceServers(options.whepUrl ?? '', fetch.bind(globalThis));
  }

  start() {
    this.#listeners.abort();
    this.#listeners = new AbortController();
    this.#listen(this.#listeners.signal);
    clearInterval(this.#ticker);
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    if (document.hidden) this.#recovery.suspend('hidden');
    this.#apply(this.#recovery.start(now()));
  }

  /** Lets go of everything; `start` begins anew. */
  stop() {
    this.#listeners.abort();
    clearInterval(this.#ticker);
    this.#apply(this.#recovery.stop());
  }

  /** The viewer touched the player: what autoplay rules forbade is allowed now. */
  allowPlay() {
    this.#apply(this.#recovery.resume('blocked', now()));
    void this.#play();
  }

  view() {
    return { ...this.#recovery.view(now()), failure: this.#recovery.lastFailure };
  }

  get mode() {
    return this.#mode.mode;
  }

  stats() {
    const { sinceMs } = this.#recovery.view(now());
    return {
      mode: this.mode,
      ...this.#recovery.counters(),
      pictures: this.#pictures,
      sinceLastPictureMs: sinceMs,
      lastFailure: this.#recovery.lastFailure,
      source: this.#source?.stats() ?? null,
    };
  }

  /** @param {AbortSignal} signal */
  #listen(signal) {
    const { video } = this.#options;
    document.addEventListener('visibilitychange', () => this.#onVisibility(), { signal });
    // Sent after a tab was frozen or the machine slept, not always with a change of visibility.
    document.addEventListener('resume', () => this.#apply(this.#recovery.hurry(now())), { signal });
    window.addEventListener('online', () => this.#apply(this.#recovery.hurry(now())), { signal });
    video.addEventListener('loadeddata', () => void this.#play(), { signal });
    // Nothing here pauses: it was the system (media keys, a call, power saving), and live video goes on.
    video.addEventListener('pause', () => void this.#play(), { signal });
    video.addEventListener('ended', () => this.#fail({ kind: 'ended' }), { signal });
  }

  #onVisibility() {
    if (document.hidden) this.#recovery.suspend('hidden');
    else this.#apply(this.#recovery.resume('hidden', now()));
    this.#schedule();
    void this.#play();
  }

  /** @param {Action} action */
  #apply(action) {
    if (action === 'open') this.#open();
    if (action === 'close') this.#close();
    this.#schedule();
    this.#options.onChange?.();
  }

  #schedule() {
    clearTimeout(this.#timer);
    const due = this.#recovery.pollTimeout();
    if (due === null) return;
    this.#timer = setTimeout(() => this.#onTimeout(), Math.max(0, due - now()));
  }

  #onTimeout() {
    const stage = this.#source?.stage();
    const action = this.#recovery.handleTimeout(now());
    if (action === 'close') this.#chooseAfter({ kind: stage === 'connecting' ? 'ice' : 'stalled' });
    this.#apply(action);
  }

  #open() {
    const { video, profile, whepUrl } = this.#options;
    let current = true;
    const onFailure = (/** @type {Failure} */ failure) => {
      if (current) this.#fail(failure);
    };
    const source =
      this.mode === 'webrtc' && whepUrl !== undefined
        ? openWebRtc({ video, url: whepUrl, onFailure, iceServers: this.#iceServers })
        : openHls({ video, url: this.#hlsUrl, onFailure, profile });
    this.#source = {
      ...source,
      close() {
        current = false;
        source.close();
      },
    };
    this.#stopWatching = watchPictures(video, () => this.#onPicture());
  }

  #close() {
    this.#keepLastPicture();
    this.#stopWatching?.();
    this.#stopWatching = null;
    this.#source?.close();
    this.#source = null;
  }

  /** @param {Failure} failure */
  #fail(failure) {
    const action = this.#recovery.handleFailure(failure, now());
    if (action === 'none') return;
    this.#chooseAfter(failure);
    this.#apply(action);
    if (failure.kind === 'refused') this.#apply(this.#recovery.hurry(now()));
  }

  /** @param {Failure} failure */
  #chooseAfter(failure) {
    if (this.mode === 'hls') {
      this.#mode.handleHlsFailed(now());
    } else if (failure.kind === 'refused') {
      if (failure.fallbackUrl !== undefined) this.#hlsUrl = playlistUrl(failure.fallbackUrl);
      this.#mode.handleRefused(now());
    } else if (failure.kind === 'ice') {
      this.#mode.handleUnreachable(now());
    }
  }

  #onPicture() {
    const wasPlaying = this.#recovery.phase === 'playing';
    this.#pictures += 1;
    this.#recovery.handlePicture(now());
    if (wasPlaying || this.#recovery.phase !== 'playing') return;
    this.#mode.handleReached();
    this.#options.lastPicture.hidden = true;
    this.#apply('none');
  }

  #tick() {
    // A deadline moves with every picture; looking once a second is cheaper than a new timer for each.
    this.#schedule();
    if (this.#recovery.phase !== 'playing') this.#options.onChange?.();
  }

  async #play() {
    const { video } = this.#options;
    if (!video.paused || this.#source === null || video.readyState === 0) return;
    try {
      await video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return;
      if (!video.muted) {
        video.muted = true;
        void this.#play();
        return;
      }
      this.#recovery.suspend('blocked');
      this.#apply('none');
    }
  }

  #keepLastPicture() {
    const { video, lastPicture } = this.#options;
    const { videoWidth, videoHeight } = video;
    if (videoWidth === 0 || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const scale = Math.min(1, LAST_PICTURE_WIDTH_MAX / videoWidth);
    lastPicture.width = Math.round(videoWidth * scale);
    lastPicture.height = Math.round(videoHeight * scale);
    lastPicture.getContext('2d')?.drawImage(video, 0, 0, lastPicture.width, lastPicture.height);
    lastPicture.hidden = false;
  }
}

/**
 * The playlist of a camera's HLS address, which may be the page's.
 * @param {string} url
 */
export function playlistUrl(url) {
  const parsed = new URL(url);
  if (!parsed.pathname.endsWith('.m3u8')) parsed.pathname = parsed.pathname.replace(/\/?$/, '/index.m3u8');
  return parsed.href;
}

function now() {
  return performance.now();
}
