/**
 * @file Recovery: what happened to a player turned into when to open, close and open again, for ever.
 *
 *              start            first picture
 *      idle ─────────► connecting ───────────► playing
 *                        ▲   │ failure, or         │ failure, or
 *               retry is │   │ no picture in       │ no new picture in
 *                    due │   ▼ connectMs           ▼ stallMs
 *                      waiting ◄───────────────────┘
 *
 * Pure: no clock, no timers, no DOM. The time is an argument, chance is given at the start. Every `handle*` returns
 * what the driver (player.js) must do now: open a source, close the one it has, or nothing.
 * While suspended (tab hidden, play not allowed) missing pictures prove nothing and nobody is judged.
 *
 * Units: milliseconds of any clock that does not go backwards.
 */

/**
 * @typedef {'open' | 'close' | 'none'} Action
 * @typedef {'idle' | 'connecting' | 'playing' | 'waiting'} Phase
 * @typedef {'stopped' | 'connecting' | 'playing' | 'lost' | 'blocked'} Signal what a person is to be told
 * @typedef {'hidden' | 'blocked'} Suspension
 * @typedef {'network' | 'absent' | 'denied' | 'unsupported' | 'refused' | 'media' | 'ice' | 'stalled' | 'timeout' | 'ended'} FailureKind
 * @typedef {{kind: FailureKind, retryAfterMs?: number, message?: string}} Failure
 */

/**
 * connectMs: an attempt gets this long to its first picture; the server may hold a request for 10 s while it starts
 * a camera on demand. stallMs: a playing source with no new picture for this long is given up.
 * retryMinMs, retryMaxMs: back-off between the starts of attempts, doubling, with jitter.
 * settledMs: pictures for this long make the next failure a first failure again.
 * overlayMs: a gap shorter than this is not worth a message. refusalMs: pause after an answer that retrying soon cannot
 * change. retryAfterMaxMs: the longest pause that a server may ask for.
 */
export const LIMITS = Object.freeze({
  connectMs: 12_000,
  stallMs: 5_000,
  retryMinMs: 500,
  retryMaxMs: 5_000,
  settledMs: 10_000,
  overlayMs: 1_500,
  firstPictureMs: 5_000,
  refusalMs: 30_000,
  retryAfterMaxMs: 60_000,
});

export class Recovery {
  /** @type {Phase} */ #phase = 'idle';
  /** @type {Set<Suspension>} */ #suspensions = new Set();
  /** @type {() => number} */ #random;
  #startedAt = 0;
  #attemptAt = 0;
  #playingSince = 0;
  #retryAt = 0;
  /** Since when missing pictures count: the last picture, or the end of a suspension. */
  #judgedFrom = 0;
  /** @type {number | null} */ #lastPictureAt = null;
  /** @type {Failure | null} */ #lastFailure = null;
  #failuresInARow = 0;
  #attempts = 0;
  /** @type {Partial<Record<FailureKind, number>>} */ #failures = {};

  /** @param {() => number} random in [0, 1), as Math.random */
  constructor(random) {
    this.#random = random;
  }

  /**
   * @param {number} now
   * @returns {Action}
   */
  start(now) {
    if (this.#phase !== 'idle') return 'none';
    this.#startedAt = now;
    this.#lastPictureAt = null;
    this.#lastFailure = null;
    this.#failuresInARow = 0;
    return this.#open(now);
  }

  /** @returns {Action} */
  stop() {
    const hadSource = this.#phase === 'connecting' || this.#phase === 'playing';
    this.#phase = 'idle';
    return hadSource ? 'close' : 'none';
  }

  /**
   * A new picture was shown.
   * @param {number} now
   */
  handlePicture(now) {
    if (this.#phase === 'connecting') {
      this.#phase = 'playing';
      this.#playingSince = now;
    }
    if (this.#phase !== 'playing') return;
    this.#lastPictureAt = now;
    this.#judgedFrom = now;
    if (now - this.#playingSince >= LIMITS.settledMs) this.#failuresInARow = 0;
  }

  /**
   * The open source is of no more use.
   * @param {Failure} failure
   * @param {number} now
   * @returns {Action}
   */
  handleFailure(failure, now) {
    if (this.#phase !== 'connecting' && this.#phase !== 'playing') return 'none';
    this.#phase = 'waiting';
    this.#lastFailure = failure;
    this.#failures[failure.kind] = (this.#failures[failure.kind] ?? 0) + 1;
    this.#failuresInARow += 1;
    this.#retryAt = now + this.#delay(failure, now);
    return 'close';
  }

  /**
   * To be called when `pollTimeout` is due; harmless at any other time.
   * @param {number} now
   * @returns {Action}
   */
  handleTimeout(now) {
    const due = this.pollTimeout();
    if (due === null || now < due) return 'none';
    if (this.#phase === 'waiting') return this.#open(now);
    return this.handleFailure({ kind: this.#phase === 'playing' ? 'stalled' : 'timeout' }, now);
  }

  /** @param {Suspension} why */
  suspend(why) {
    this.#suspensions.add(why);
  }

  /**
   * @param {Suspension} why
   * @param {number} now
   * @returns {Action}
   */
  resume(why, now) {
    if (!this.#suspensions.delete(why)) return 'none';
    this.#judgedFrom = now;
    return this.hurry(now);
  }

  /**
   * Something changed for the better (network back, tab in front): do not sit out the back-off.
   * A pause that the server asked for is kept.
   * @param {number} now
   * @returns {Action}
   */
  hurry(now) {
    const asked = this.#lastFailure?.retryAfterMs !== undefined;
    return this.#phase === 'waiting' && !asked ? this.#open(now) : 'none';
  }

  /** @returns {number | null} when `handleTimeout` is to be called, null for never */
  pollTimeout() {
    if (this.#phase === 'waiting') return this.#retryAt;
    if (this.#phase === 'idle' || this.#suspensions.size > 0) return null;
    const patience = this.#phase === 'playing' ? LIMITS.stallMs : LIMITS.connectMs;
    return this.#judgedFrom + patience;
  }

  /** @returns {Phase} */
  get phase() {
    return this.#phase;
  }

  /** @returns {Failure | null} */
  get lastFailure() {
    return this.#lastFailure;
  }

  /**
   * @param {number} now
   * @returns {{signal: Signal, sinceMs: number, shown: boolean}} since: since the last picture, or the start;
   *   shown: whether it has lasted long enough to say it
   */
  view(now) {
    const sinceMs = now - (this.#lastPictureAt ?? this.#startedAt);
    const signal = this.#signal(sinceMs);
    return { signal, sinceMs, shown: signal !== 'playing' && sinceMs >= LIMITS.overlayMs };
  }

  /** @returns {{attempts: number, reconnects: number, failures: Partial<Record<FailureKind, number>>}} */
  counters() {
    return {
      attempts: this.#attempts,
      reconnects: Math.max(0, this.#attempts - 1),
      failures: { ...this.#failures },
    };
  }

  /** @param {number} sinceMs @returns {Signal} */
  #signal(sinceMs) {
    if (this.#phase === 'idle') return 'stopped';
    if (this.#suspensions.has('blocked')) return 'blocked';
    if (this.#phase === 'playing') return 'playing';
    const fresh = this.#lastPictureAt === null && this.#lastFailure === null;
    return fresh && sinceMs < LIMITS.firstPictureMs ? 'connecting' : 'lost';
  }

  /** @param {number} now @returns {Action} */
  #open(now) {
    this.#phase = 'connecting';
    this.#attempts += 1;
    this.#attemptAt = now;
    this.#judgedFrom = now;
    return 'open';
  }

  /**
   * Back-off is counted between starts of attempts, so one that lasted long is followed soon.
   * @param {Failure} failure
   * @param {number} now
   */
  #delay(failure, now) {
    const doublings = Math.min(this.#failuresInARow - 1, 10);
    const backOff = Math.min(LIMITS.retryMaxMs, LIMITS.retryMinMs * 2 ** doublings);
    const left = Math.max(LIMITS.retryMinMs, backOff - (now - this.#attemptAt));
    const jittered = left * (0.75 + 0.5 * this.#random());
    const asked = Math.min(failure.retryAfterMs ?? 0, LIMITS.retryAfterMaxMs);
    const refusal = failure.kind === 'unsupported' ? LIMITS.refusalMs : 0;
    return Math.max(jittered, asked, refusal);
  }
}
