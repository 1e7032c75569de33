/**
 * @file Choice: what a publisher has chosen, as the browser wants it said; and what is wrong, as a word.
 *
 * Belongs here: decisions without a device or a server. Does not: capture, the session (-> publisher.js), texts (-> i18n.js).
 */

/** What the server takes, best first: it never transcodes video, and these are what its viewers play. */
const CODECS = ['H264', 'H265'];
/** Not media, but what keeps it whole. */
const HELPERS = ['rtx', 'red', 'ulpfec', 'flexfec-03'];

/** What a camera is asked for; the browser gives the nearest that it has. */
const SIZE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25 } };
/** A screen is mostly still text: small print before smooth motion. */
const SCREEN = { frameRate: { ideal: 15, max: 30 } };

/** kbit/s. */
export const BITRATE = Object.freeze({ min: 100, usual: 2000, max: 20_000 });

/** Between tries to connect again, ms; the last one goes on. */
const RETRY_MS = [1000, 2000, 5000, 10_000];

/**
 * @typedef {'insecure' | 'unsupported' | 'forbidden' | 'missing' | 'busy' | 'ended' | 'denied' | 'taken' | 'closed' | 'refused'
 *   | 'unreachable' | 'network' | 'unknown'} Trouble
 *
 * @typedef {object} Choice
 * @property {'camera' | 'screen'} source
 * @property {string} camera device id; empty for the browser's own choice
 * @property {string | null} microphone device id, empty for the browser's own choice, null for none
 * @property {string} codec
 * @property {number} bitrateKbps
 */

/**
 * The names of codecs that the browser can send and the server takes.
 * @param {readonly {mimeType: string}[]} codecs as `RTCRtpSender.getCapabilities('video').codecs`
 * @returns {string[]}
 */
export function codecNames(codecs) {
  const known = new Set(codecs.map(nameOf));
  return CODECS.filter((name) => known.has(name));
}

/**
 * What is to be offered: the chosen codec in all its profiles, and what belongs to any.
 * @template {{mimeType: string}} T
 * @param {readonly T[]} codecs
 * @param {string} chosen
 * @returns {T[]}
 */
export function codecsFor(codecs, chosen) {
  return codecs.filter((codec) => nameOf(codec) === chosen || HELPERS.includes(nameOf(codec).toLowerCase()));
}

/**
 * @param {Choice} choice
 * @returns {{video: MediaTrackConstraints, audio: MediaTrackConstraints | false}} for getUserMedia of a camera
 */
export function cameraConstraints({ camera, microphone }) {
  return { video: { ...SIZE, ...device(camera) }, audio: soundConstraints(microphone) };
}

/** @returns {{video: MediaTrackConstraints, audio: false}} for getDisplayMedia; the sound is the microphone's */
export function screenConstraints() {
  return { video: SCREEN, audio: false };
}

/**
 * @param {string | null} microphone
 * @returns {MediaTrackConstraints | false}
 */
export function soundConstraints(microphone) {
  return microphone === null ? false : { ...device(microphone) };
}

/**
 * A bit rate as it was typed.
 * @param {string} text kbit/s
 * @returns {number} within bounds; the usual one for what is no number
 */
export function bitrateKbps(text) {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) return BITRATE.usual;
  return Math.min(BITRATE.max, Math.max(BITRATE.min, Math.round(value)));
}

/**
 * What kept the browser from capturing.
 * @param {unknown} error as getUserMedia and getDisplayMedia reject
 * @returns {Trouble}
 */
export function captureTrouble(error) {
  switch (error instanceof Error ? error.name : '') {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'forbidden';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
    default:
      return 'unknown';
  }
}

/**
 * What kept the server from taking the media.
 * @param {{kind: string, status?: number}} error a WhepError
 * @returns {Trouble}
 */
export function sessionTrouble({ kind, status }) {
  if (kind === 'denied') return 'denied';
  if (kind === 'ice') return 'unreachable';
  if (status === 409) return 'taken';
  if (status === 400 || status === 404) return 'closed';
  if (status === 406 || status === 415 || kind === 'media') return 'refused';
  return 'network';
}

/**
 * How long to wait before the next try.
 * @param {Trouble} trouble
 * @param {number} failures in a row, this one included
 * @returns {number | null} ms; null when trying again would change nothing
 */
export function retryAfterMs(trouble, failures) {
  if (trouble !== 'network' && trouble !== 'unreachable') return null;
  return RETRY_MS[Math.min(failures, RETRY_MS.length) - 1] ?? null;
}

/** @param {{mimeType: string}} codec */
function nameOf({ mimeType }) {
  return mimeType.slice(mimeType.indexOf('/') + 1);
}

/** @param {string} id */
function device(id) {
  return id === '' ? {} : { deviceId: { exact: id } };
}
