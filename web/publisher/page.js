/**
 * @file Publisher page: choose a camera or the screen, a microphone, a codec and a bit rate; see what is sent; read what is wrong.
 *
 * The address is `/{path}/publish`; its parameters (a token, say) go along to the WHIP endpoint. Who may publish is asked by the browser
 * when the page is opened, as of a player's page. `window.gtvision.state` tells tests what happens.
 */

import { find, setText } from '../elements.js';
import { lengthOfTime, textsFor } from '../i18n.js';
import { BITRATE, bitrateKbps, codecNames } from './choice.js';
import { Publisher } from './publisher.js';

/** How often the time on air is said anew, ms. */
const CLOCK_MS = 1000;

const all = textsFor(navigator.language);
const texts = all.publisher;
const form = find('form', HTMLFormElement);
const choices = find('fieldset', HTMLFieldSetElement);
const source = find('#source', HTMLSelectElement);
const camera = find('#camera', HTMLSelectElement);
const microphone = find('#microphone', HTMLSelectElement);
const codec = find('#codec', HTMLSelectElement);
const bitrate = find('#bitrate', HTMLInputElement);
const button = find('.start', HTMLButtonElement);
const message = find('.message', HTMLElement);
const video = find('video', HTMLVideoElement);

/** The value of a choice that is nothing. No device has it as its id. */
const NONE = 'none';

const publisher = new Publisher({ url: whipUrl(), onChange: render });

Object.defineProperty(window, 'gtvision', {
  value: Object.freeze({
    /** @returns {import('./publisher.js').State} */
    get state() {
      return publisher.view().state;
    },
    get trouble() {
      return publisher.view().trouble;
    },
  }),
});

document.documentElement.lang = all.lang;
document.title = `${texts.title}: ${pathName()} – GT-Vision`;
find('h1', HTMLElement).textContent = `${texts.title}: ${pathName()}`;
video.setAttribute('aria-label', texts.preview);
for (const name of /** @type {const} */ (['source', 'camera', 'microphone', 'codec', 'bitrate'])) {
  find(`label[for=${name}]`, HTMLElement).textContent = texts[name];
}
fill(source, [['camera', texts.camera], ['screen', texts.screen]]);
fill(codec, codecNames(globalThis.RTCRtpSender?.getCapabilities('video')?.codecs ?? []).map((name) => [name, name]));
Object.assign(bitrate, { min: String(BITRATE.min), max: String(BITRATE.max), value: String(BITRATE.usual) });
source.addEventListener('change', render);
form.addEventListener('submit', (event) => {
  event.preventDefault();
  toggle();
});
window.addEventListener('pagehide', () => publisher.stop());
navigator.mediaDevices?.addEventListener('devicechange', () => void listDevices());
setInterval(render, CLOCK_MS);
void listDevices();
render();

function toggle() {
  if (isBusy()) {
    publisher.stop();
    return;
  }
  bitrate.value = String(bitrateKbps(bitrate.value));
  void publisher
    .start({
      source: source.value === 'screen' ? 'screen' : 'camera',
      camera: camera.value,
      microphone: microphone.value === NONE ? null : microphone.value,
      codec: codec.value,
      bitrateKbps: bitrateKbps(bitrate.value),
    })
    // Their names are told once the capture was allowed.
    .then(listDevices);
}

function isBusy() {
  return !['idle', 'failed'].includes(publisher.view().state);
}

/** Lists the devices anew and keeps what was chosen, if it is still there. */
async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const of = (/** @type {MediaDeviceKind} */ kind, /** @type {string} */ name) =>
    devices
      .filter((device) => device.kind === kind)
      .map(({ deviceId, label }, index) => [deviceId, label || texts.unnamed(name, index + 1)]);
  fill(camera, orDefault(of('videoinput', texts.camera), texts.camera));
  fill(microphone, [...orDefault(of('audioinput', texts.microphone), texts.microphone), [NONE, texts.noMicrophone]]);
}

/**
 * @param {string[][]} devices
 * @param {string} name
 */
function orDefault(devices, name) {
  return devices.length > 0 ? devices : [['', name]];
}

/**
 * @param {HTMLSelectElement} select
 * @param {string[][]} options value and text
 */
function fill(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value = '', text = '']) => new Option(text, value)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

function render() {
  const { state, trouble, sinceMs, media } = publisher.view();
  const isUnable = codec.options.length === 0;
  document.body.dataset.state = state;
  choices.disabled = isBusy();
  camera.disabled = source.value === 'screen';
  button.textContent = isBusy() ? texts.stop : texts.start;
  button.disabled = isUnable;
  if (video.srcObject !== media) video.srcObject = media;
  setText(message, isUnable ? texts.troubles.unsupported : said(state, trouble, sinceMs));
}

/**
 * @param {import('./publisher.js').State} state
 * @param {import('./choice.js').Trouble | null} trouble
 * @param {number} sinceMs
 */
function said(state, trouble, sinceMs) {
  switch (state) {
    case 'capturing':
      return texts.capturing;
    case 'connecting':
      return all.connecting;
    case 'live':
      return texts.live(lengthOfTime(sinceMs));
    case 'waiting':
      return `${texts.again}. ${trouble === null ? '' : texts.troubles[trouble]}`;
    case 'failed':
      return trouble === null ? '' : texts.troubles[trouble];
    default:
      return '';
  }
}

function whipUrl() {
  const url = new URL('./whip', location.href);
  url.search = location.search;
  return url.href;
}

function pathName() {
  const path = location.pathname.replace(/^\/+|\/publish$/g, '');
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
