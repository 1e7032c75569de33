/**
 * @file Player page: one camera filling the window, with two buttons that fade away and a word when there is no signal.
 *
 * Shared by hls.html and webrtc.html, which differ in `<body data-mode>`. The address is `/{camera}/`; `?controls=0`
 * leaves the buttons out, `?muted=0` asks for sound (the browser may refuse until the viewer touches the page).
 * Other parameters (a token, say) go along to the media addresses.
 */

import { find, setText } from '../elements.js';
import { lengthOfTime, textsFor } from '../i18n.js';
import { Player } from './player.js';

/** Buttons fade this long after the last sign of the viewer, ms. */
const IDLE_MS = 3000;
/** Where HLS is served when the server names no other address. */
const HLS_PORT = 8888;

const texts = textsFor(navigator.language);
const query = new URLSearchParams(location.search);
const root = find('main', HTMLElement);
const video = find('video', HTMLVideoElement);
const message = find('.message', HTMLElement);
const since = find('.since', HTMLElement);
const playButton = find('.play', HTMLButtonElement);
const controls = find('.controls', HTMLElement);
const muteButton = find('.mute', HTMLButtonElement);
const fullscreenButton = find('.fullscreen', HTMLButtonElement);

/** @type {ReturnType<typeof setTimeout> | undefined} */
let idleTimer;

const mode = document.body.dataset.mode === 'webrtc' ? 'webrtc' : 'hls';
const player = new Player({
  video,
  lastPicture: find('.last-picture', HTMLCanvasElement),
  mode,
  hlsUrl: hlsUrl(),
  whepUrl: mode === 'webrtc' ? mediaUrl('./whep').href : undefined,
  profile: 'page',
  onChange: render,
});

Object.defineProperty(window, 'gtvision', {
  value: Object.freeze({
    /** @returns {import('./recovery.js').Signal} */
    get state() {
      return player.view().signal;
    },
    get mode() {
      return player.mode;
    },
    stats: () => player.stats(),
  }),
});

document.documentElement.lang = texts.lang;
document.title = `${cameraName()} – GT-Vision`;
video.setAttribute('aria-label', `${texts.video}: ${cameraName()}`);
playButton.textContent = texts.tapToPlay;
video.muted = query.get('muted') !== '0';
controls.hidden = query.get('controls') === '0';
listen();
renderControls();
player.start();

function listen() {
  playButton.addEventListener('click', () => player.allowPlay());
  muteButton.addEventListener('click', toggleMute);
  fullscreenButton.addEventListener('click', toggleFullscreen);
  video.addEventListener('volumechange', renderControls);
  document.addEventListener('fullscreenchange', renderControls);
  window.addEventListener('pagehide', () => player.stop());
  window.addEventListener('pageshow', (event) => {
    if (event.persisted) player.start();
  });
  for (const sign of ['pointermove', 'pointerdown', 'keydown', 'focusin']) root.addEventListener(sign, wake);
  if (controls.hidden) return;
  video.addEventListener('click', () => {
    if (video.muted) toggleMute();
  });
  video.addEventListener('dblclick', toggleFullscreen);
  document.addEventListener('keydown', onKey);
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  wake();
  if (event.key === 'm') toggleMute();
  if (event.key === 'f') toggleFullscreen();
}

function toggleMute() {
  video.muted = !video.muted;
  player.allowPlay();
}

function toggleFullscreen() {
  const phone = /** @type {{webkitEnterFullscreen?: () => void}} */ (video);
  if (document.fullscreenElement !== null) void document.exitFullscreen();
  else if (typeof root.requestFullscreen === 'function') root.requestFullscreen().catch(() => {});
  else phone.webkitEnterFullscreen?.();
}

function wake() {
  root.classList.add('awake');
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => root.classList.remove('awake'), IDLE_MS);
}

function renderControls() {
  label(muteButton, video.muted ? texts.unmute : texts.mute);
  muteButton.classList.toggle('off', video.muted);
  const full = document.fullscreenElement !== null;
  label(fullscreenButton, full ? texts.exitFullscreen : texts.fullscreen);
  fullscreenButton.classList.toggle('on', full);
}

function render() {
  const { signal, sinceMs, shown, failure } = player.view();
  root.dataset.signal = shown ? signal : 'playing';
  playButton.hidden = signal !== 'blocked';
  if (!shown || signal === 'blocked') return;
  const told = signal === 'lost' ? lostText(failure) : texts.connecting;
  setText(message, told);
  setText(since, told === texts.lost ? texts.since(lengthOfTime(sinceMs)) : '');
}

/** @param {import('./recovery.js').Failure | null} failure */
function lostText(failure) {
  if (failure?.kind === 'denied') return texts.denied;
  if (failure?.kind === 'unsupported') return texts.unsupported;
  return texts.lost;
}

/** @param {HTMLElement} button @param {string} text */
function label(button, text) {
  button.setAttribute('aria-label', text);
  button.title = text;
}

function hlsUrl() {
  const url = mediaUrl('./index.m3u8');
  if (mode === 'webrtc') url.port = String(HLS_PORT);
  return url.href;
}

/** @param {string} relative to the page, with the page's parameters except its own */
function mediaUrl(relative) {
  const url = new URL(relative, location.href);
  const passed = new URLSearchParams(query);
  passed.delete('controls');
  passed.delete('muted');
  url.search = passed.toString();
  return url;
}

function cameraName() {
  const path = location.pathname.replace(/^\/+|\/+$/g, '');
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
