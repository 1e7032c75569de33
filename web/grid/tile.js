/**
 * @file Tile: one camera in the grid, a link with a small picture, a name and a state.
 *
 * The state is told by shape and word; colour only helps. All text from the server enters as text, never as markup.
 */

import { lengthOfTime } from '../i18n.js';
import { Player, playlistUrl } from '../player/player.js';

/** @typedef {import('./cameras.js').Camera} Camera */

export class Tile {
  #texts;
  /** @type {Camera} */ #camera;
  /** @type {Player | null} */ #player = null;
  #link = element('a', 'tile');
  #screen = element('div', 'screen');
  #signal = element('span', 'signal');
  #mark = element('span', 'mark');
  #name = element('span', 'name');
  #state = element('span', 'state');
  #detail = element('span', 'detail');
  /** The list item to put into the page. */
  root = element('li');
  visible = false;

  /**
   * @param {Camera} camera
   * @param {import('../i18n.js').Texts} texts
   */
  constructor(camera, texts) {
    this.#texts = texts;
    this.#camera = camera;
    this.#mark.setAttribute('aria-hidden', 'true');
    this.#screen.append(this.#signal);
    const words = element('div', 'words');
    const line = element('span', 'line');
    line.append(this.#state, this.#detail);
    words.append(this.#mark, this.#name, line);
    this.#link.append(this.#screen, words);
    this.root.append(this.#link);
    this.update(camera);
  }

  get name() {
    return this.#camera.name;
  }

  get online() {
    return this.#camera.online;
  }

  get playing() {
    return this.#player !== null;
  }

  /** @param {Camera} camera */
  update(camera) {
    const moved = camera.playlistUrl !== this.#camera.playlistUrl;
    this.#camera = camera;
    if (moved) this.stop();
    const texts = this.#texts;
    const { state } = camera;
    const word = state === 'unknown' && camera.stateText !== '' ? camera.stateText : texts.states[state];
    /** @type {HTMLAnchorElement} */ (this.#link).href = camera.pageUrl;
    this.#link.dataset.state = state;
    set(this.#name, camera.name);
    set(this.#state, word ?? '');
    set(this.#detail, this.#detailText());
    this.#link.title = [camera.name, camera.reason].filter(Boolean).join('\n');
    this.#renderSignal();
  }

  /** Begins to play, when it does not already. */
  start() {
    if (this.#player !== null) return;
    const video = document.createElement('video');
    video.muted = true;
    video.autoplay = true;
    video.playsInline = true;
    video.tabIndex = -1;
    const lastPicture = document.createElement('canvas');
    lastPicture.hidden = true;
    this.#screen.prepend(video, lastPicture);
    const player = new Player({
      video,
      lastPicture,
      mode: 'hls',
      hlsUrl: playlistUrl(this.#camera.playlistUrl),
      profile: 'tile',
      onChange: () => this.#renderSignal(),
    });
    this.#player = player;
    player.start();
  }

  stop() {
    const player = this.#player;
    this.#player = null;
    player?.stop();
    for (const media of this.#screen.querySelectorAll('video, canvas')) media.remove();
    this.#renderSignal();
  }

  /** Stops and leaves the page. */
  remove() {
    this.stop();
    this.root.remove();
  }

  /** @returns {Record<string, unknown>} for tests */
  stats() {
    return { name: this.name, state: this.#player?.view().signal ?? 'stopped', ...this.#player?.stats() };
  }

  #detailText() {
    const { online, tracks, readers, since } = this.#camera;
    const parts = online
      ? [tracks, readers > 0 ? this.#texts.readers(readers) : '']
      : [since === null ? '' : this.#texts.since(lengthOfTime(Date.now() - since))];
    return parts.filter(Boolean).join(' · ');
  }

  #renderSignal() {
    const view = this.#player?.view();
    const lost = view === undefined ? !this.#camera.online : view.shown && view.signal === 'lost';
    const connecting = view !== undefined && view.shown && view.signal === 'connecting';
    this.#screen.classList.toggle('lost', lost);
    set(this.#signal, lost ? this.#lostText() : connecting ? this.#texts.connecting : '');
  }

  #lostText() {
    const kind = this.#player?.view().failure?.kind;
    if (kind === 'denied') return this.#texts.denied;
    if (kind === 'unsupported') return this.#texts.unsupported;
    if (this.#camera.state === 'idle') return this.#texts.states.idle ?? '';
    return this.#player === null && this.#camera.state === 'connecting' ? this.#texts.connecting : this.#texts.lost;
  }
}

/** @param {HTMLElement} target @param {string} text */
function set(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** @param {string} tag @param {string} [name] */
function element(tag, name) {
  const made = document.createElement(tag);
  if (name !== undefined) made.className = name;
  return made;
}
