/**
 * @file Mode: which of WebRTC and HLS the next attempt uses.
 *
 * A WebRTC page falls back to HLS when the server says that this camera cannot be sent over WebRTC (B-frames, a codec
 * the browser lacks), or when signalling works but media never arrives (UDP and TCP blocked). It goes back to WebRTC
 * only when HLS fails too and the refusal is old enough. An HLS page has no choice to make.
 */

/** @typedef {'webrtc' | 'hls'} Mode */

/** A refusal is believed this long. */
export const REFUSAL_MS = 60_000;
/** So many WebRTC attempts in a row without a path for media mean that there is none. */
export const UNREACHABLE_MAX = 3;

export class ModeChoice {
  /** @type {Mode} */ #mode;
  /** @type {boolean} */ #choosing;
  #refusedAt = -Infinity;
  #unreachable = 0;

  /** @param {Mode} preferred */
  constructor(preferred) {
    this.#mode = preferred;
    this.#choosing = preferred === 'webrtc';
  }

  /** @returns {Mode} */
  get mode() {
    return this.#mode;
  }

  /**
   * The server said to use HLS instead.
   * @param {number} now
   */
  handleRefused(now) {
    if (this.#mode !== 'webrtc') return;
    this.#mode = 'hls';
    this.#refusedAt = now;
    this.#unreachable = 0;
  }

  /**
   * Signalling worked, but ICE found no way through.
   * @param {number} now
   */
  handleUnreachable(now) {
    if (this.#mode !== 'webrtc') return;
    this.#unreachable += 1;
    if (this.#unreachable >= UNREACHABLE_MAX) this.handleRefused(now);
  }

  /** Media arrived. */
  handleReached() {
    this.#unreachable = 0;
  }

  /**
   * An attempt over HLS failed.
   * @param {number} now
   */
  handleHlsFailed(now) {
    if (this.#choosing && this.#mode === 'hls' && now - this.#refusedAt >= REFUSAL_MS) this.#mode = 'webrtc';
  }
}
