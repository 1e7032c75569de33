/**
 * @file Grid page: every camera with its state, live pictures for those in sight.
 *
 * The list is asked for two seconds after the last answer, never twice at once. When the server does not answer, the
 * tiles stay as they were under a line that says so.
 */

import { find, setText } from '../elements.js';
import { textsFor } from '../i18n.js';
import { camerasFrom, choosePlaying, matches } from './cameras.js';
import { Tile } from './tile.js';

const POLL_MS = 2000;
const POLL_TIMEOUT_MS = 5000;
/** A page in the background gives its players up after this, ms: a glance at another tab costs nothing. */
const HIDDEN_MS = 30_000;
/** Tiles this near to the screen count as in sight, so that scrolling finds them playing. */
const NEAR = '100px';

const texts = textsFor(navigator.language);
const list = find('.tiles', HTMLUListElement);
const filter = find('.filter', HTMLInputElement);
const count = find('.count', HTMLElement);
const trouble = find('.trouble', HTMLElement);
const empty = find('.empty', HTMLElement);

/** @type {Map<string, Tile>} */
const tiles = new Map();
/** @type {Map<Element, Tile>} */
const tileOf = new Map();
let answered = false;
let asleep = document.hidden;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let sleepTimer;

const sight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const tile = tileOf.get(entry.target);
      if (tile !== undefined) tile.visible = entry.isIntersecting;
    }
    play();
  },
  { rootMargin: NEAR },
);

document.documentElement.lang = texts.lang;
document.title = `${texts.cameras} – GT-Vision`;
filter.placeholder = texts.filter;
filter.setAttribute('aria-label', texts.filter);
list.setAttribute('aria-label', texts.cameras);
filter.addEventListener('input', renderFilter);
document.addEventListener('visibilitychange', onVisibility);
window.addEventListener('pagehide', () => rest(true));
window.addEventListener('pageshow', () => rest(document.hidden));
setText(count, texts.loading);
Object.defineProperty(window, 'gtvision', {
  value: Object.freeze({ stats: () => [...tiles.values()].map((tile) => tile.stats()) }),
});
void poll();

async function poll() {
  try {
    const response = await fetch('/api/cameras', {
      cache: 'no-store',
      headers: { Accept: 'application/json' },
      signal: AbortSignal.timeout(POLL_TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    renderCameras(camerasFrom(await response.json(), location));
    trouble.hidden = true;
  } catch {
    setText(trouble, texts.serverLost);
    trouble.hidden = false;
  }
  setTimeout(poll, POLL_MS);
}

/** @param {import('./cameras.js').Camera[]} cameras */
function renderCameras(cameras) {
  answered = true;
  const names = new Set(cameras.map((camera) => camera.name));
  for (const [name, tile] of tiles) {
    if (!names.has(name)) forget(name, tile);
  }
  cameras.forEach((camera, index) => {
    const tile = tiles.get(camera.name) ?? add(camera);
    tile.update(camera);
    if (list.children[index] !== tile.root) list.insertBefore(tile.root, list.children[index] ?? null);
  });
  const online = cameras.filter((camera) => camera.online).length;
  setText(count, cameras.length > 0 ? texts.count(online, cameras.length) : '');
  renderFilter();
  play();
}

/** @param {import('./cameras.js').Camera} camera */
function add(camera) {
  const tile = new Tile(camera, texts);
  tiles.set(camera.name, tile);
  tileOf.set(tile.root, tile);
  sight.observe(tile.root);
  return tile;
}

/** @param {string} name @param {Tile} tile */
function forget(name, tile) {
  sight.unobserve(tile.root);
  tileOf.delete(tile.root);
  tiles.delete(name);
  tile.remove();
}

function renderFilter() {
  let shown = 0;
  for (const tile of tiles.values()) {
    tile.root.hidden = !matches(tile.name, filter.value);
    if (!tile.root.hidden) shown += 1;
  }
  empty.hidden = !answered || shown > 0;
  const [title, help] = tiles.size === 0 ? [texts.none, texts.noneHelp] : [texts.noMatch, ''];
  setText(find('.empty h2', HTMLElement), title);
  setText(find('.empty p', HTMLElement), help);
}

function play() {
  // In the order of the page, which is not that of the map once cameras came later.
  const ordered = [...list.children].flatMap((child) => tileOf.get(child) ?? []);
  const chosen = asleep ? new Set() : choosePlaying(ordered);
  for (const tile of ordered) {
    if (chosen.has(tile.name)) tile.start();
    else if (tile.playing) tile.stop();
  }
}

function onVisibility() {
  clearTimeout(sleepTimer);
  if (document.hidden) sleepTimer = setTimeout(() => rest(true), HIDDEN_MS);
  else rest(false);
}

/** @param {boolean} value */
function rest(value) {
  asleep = value;
  play();
}
