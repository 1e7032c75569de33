/**
 * @file Cameras: the server's list of cameras turned into what the grid shows, and which of them play.
 *
 * Pure. Nothing in the list is trusted to have its type: a field of the wrong kind counts as missing.
 *
 * Limits: PLAYERS_MAX players at once; CAMERAS_MAX tiles, what comes after is left out.
 */

/** Sixteen players on one page; more would starve each other of decoders and bandwidth. */
export const PLAYERS_MAX = 16;
/** Four servers' worth of cameras. */
export const CAMERAS_MAX = 1000;

const HLS_PORT = 8888;
const WEBRTC_PORT = 8889;

/**
 * @typedef {'online' | 'connecting' | 'frozen' | 'backingoff' | 'opencircuit' | 'idle' | 'unknown'} CameraState
 *
 * @typedef {object} Camera
 * @property {string} name
 * @property {CameraState} state
 * @property {string} stateText what the server calls it, for a state that we have no word for
 * @property {string} reason
 * @property {number | null} since ms since 1970
 * @property {boolean} online
 * @property {string} tracks
 * @property {number} readers
 * @property {string} playlistUrl
 * @property {string} pageUrl
 */

/** What the server may say (in any case, with any separators), and what it is here. */
const STATES = /** @type {Record<string, CameraState>} */ ({
  online: 'online',
  ready: 'online',
  connecting: 'connecting',
  reconnecting: 'connecting',
  frozen: 'frozen',
  backingoff: 'backingoff',
  backoff: 'backingoff',
  offline: 'backingoff',
  opencircuit: 'opencircuit',
  circuitopen: 'opencircuit',
  idle: 'idle',
  ondemand: 'idle',
  standby: 'idle',
});

/**
 * @param {unknown} answer of GET /api/cameras
 * @param {{protocol: string, hostname: string}} here the page's own address
 * @returns {Camera[]} by name, as a person counts: cam_2 before cam_10
 */
export function camerasFrom(answer, here) {
  const list = record(answer);
  const ports = { hls: port(list.hlsPort, HLS_PORT), webrtc: port(list.webrtcPort, WEBRTC_PORT) };
  const folder = sessionFolder(list.session);
  const items = Array.isArray(list.items) ? list.items : [];
  const cameras = new Map();
  for (const item of items.slice(0, CAMERAS_MAX)) {
    const camera = cameraFrom(record(item), here, ports);
    if (camera !== null) cameras.set(camera.name, { ...camera, playlistUrl: camera.playlistUrl + folder });
  }
  const byName = new Intl.Collator(undefined, { numeric: true });
  return [...cameras.values()].sort((a, b) => byName.compare(a.name, b.name));
}

/**
 * @param {string} name
 * @param {string} wanted words that must all occur, in any order; case and accents do not matter
 */
export function matches(name, wanted) {
  const plain = folded(name);
  return folded(wanted)
    .split(/\s+/)
    .every((word) => plain.includes(word));
}

/**
 * Which cameras play: those in sight that have something to show. One that plays already goes on through an outage,
 * with its last picture, for as long as it is in sight; nothing that plays is stopped for a newcomer.
 * @param {{name: string, online: boolean, visible: boolean, playing: boolean}[]} tiles in the order of the page
 * @returns {Set<string>} names, PLAYERS_MAX at most
 */
export function choosePlaying(tiles) {
  const wanted = tiles.filter((tile) => tile.visible && (tile.online || tile.playing));
  const kept = wanted.filter((tile) => tile.playing);
  const added = wanted.filter((tile) => !tile.playing);
  return new Set([...kept, ...added].slice(0, PLAYERS_MAX).map((tile) => tile.name));
}

/**
 * @param {unknown} state
 * @returns {CameraState}
 */
export function stateFrom(state) {
  const key = string(state)
    .toLowerCase()
    .replace(/[^a-z]/g, '');
  return Object.hasOwn(STATES, key) ? /** @type {CameraState} */ (STATES[key]) : 'unknown';
}

/**
 * @param {Record<string, unknown>} item
 * @param {{protocol: string, hostname: string}} here
 * @param {{hls: number, webrtc: number}} ports
 * @returns {Camera | null} null without a name
 */
function cameraFrom(item, here, ports) {
  const name = string(item.name);
  if (name === '') return null;
  const state = stateFrom(item.state);
  const since = Date.parse(string(item.stateSince));
  const hls = webUrl(item.hlsUrl) ?? builtUrl(here, ports.hls, name);
  return {
    name,
    state,
    stateText: string(item.state),
    reason: string(item.stateReason),
    since: Number.isNaN(since) ? null : since,
    online: typeof item.online === 'boolean' ? item.online : state === 'online',
    tracks: (Array.isArray(item.tracks) ? item.tracks : []).map(string).filter(Boolean).join(', '),
    readers: typeof item.readers === 'number' && item.readers > 0 ? Math.floor(item.readers) : 0,
    playlistUrl: hls,
    pageUrl: webUrl(item.webrtcUrl) ?? builtUrl(here, ports.webrtc, name),
  };
}

/** @param {{protocol: string, hostname: string}} here @param {number} port @param {string} name */
function builtUrl(here, port, name) {
  const path = name.split('/').map(encodeURIComponent).join('/');
  return `${here.protocol}//${here.hostname}:${port}/${path}/`;
}

/** @param {unknown} value @returns {string | null} null for anything that is not an http address */
function webUrl(value) {
  const text = string(value);
  return /^https?:\/\//i.test(text) && URL.canParse(text) ? new URL(text).href : null;
}

/**
 * Where players find the playlists of cameras that are not open to anyone: this page was let in, and its players with it.
 * @param {unknown} value
 */
function sessionFolder(value) {
  const key = string(value);
  return /^[0-9a-f]{32}$/.test(key) ? `session=${key}/` : '';
}

/** @param {unknown} value @param {number} fallback */
function port(value, fallback) {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536 ? value : fallback;
}

/** @param {unknown} value @returns {Record<string, unknown>} */
function record(value) {
  return typeof value === 'object' && value !== null ? /** @type {Record<string, unknown>} */ (value) : {};
}

/** @param {unknown} value */
function string(value) {
  return typeof value === 'string' ? value : '';
}

/** @param {string} text */
function folded(text) {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase().trim();
}
