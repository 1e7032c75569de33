// Glass: opens a player page in a real browser and says which pictures it showed, and when.
//
//   node glass.mjs --browser chrome|firefox --url URL --seconds N --frames FRAMES_IN_CLIP
//                  [--first SECONDS] [--screenshot FILE] [--end-session-after SECONDS]
//                  [--sent URL --gop FRAMES --begin-at FRAME] [--user NAME --password WORD]
//
// A picture is read back from the screen side (requestVideoFrameCallback + canvas), and its
// frame number from the bar code in its top rows (fixtures/barcode.js). Prints one line of
// JSON; tests/src/browser.rs names its fields. Exits 0 also when there was no picture: the
// caller decides what that means.
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { installed, read, root } from './arguments.mjs';

const args = read({
  browser: 'chrome', url: undefined, seconds: '10', frames: '0', first: '30', screenshot: '',
  'end-session-after': '', sent: '', gop: '0', 'begin-at': '0', user: '', password: '',
});

const LAUNCH = {
  chrome: {
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
      '--disable-background-networking', '--disable-component-update',
      '--autoplay-policy=no-user-gesture-required',
      // Loopback candidates by address, not by a name that nobody here resolves.
      '--disable-features=WebRtcHideLocalIpsWithMdns',
    ],
  },
  firefox: {
    executablePath: '/usr/bin/firefox-esr',
    extraPrefsFirefox: {
      'media.autoplay.default': 0,
      'media.autoplay.blocking_policy': 0,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'media.peerconnection.ice.loopback': true,
    },
  },
};

/** Runs in the page before its own scripts: collects every picture of its video. */
function watchPictures() {
  const watch = { pictures: [], size: null, attached: new WeakSet() };
  window.__watch = watch;
  const canvas = new OffscreenCanvas(1, 1);
  const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false });
  const onPicture = (video) => (_now, metadata) => {
    const at = performance.timeOrigin + performance.now();
    const { videoWidth: width, videoHeight: height } = video;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    context.drawImage(video, 0, 0);
    const frame = readBarcode(context.getImageData(0, 0, width, height));
    watch.size = [width, height];
    watch.pictures.push([frame, at, metadata.presentedFrames, performance.now()]);
    video.requestVideoFrameCallback(onPicture(video));
  };
  const attach = () => {
    for (const video of document.querySelectorAll('video')) {
      if (watch.attached.has(video)) continue;
      watch.attached.add(video);
      video.requestVideoFrameCallback(onPicture(video));
    }
  };
  new MutationObserver(attach).observe(document, { childList: true, subtree: true });
  document.addEventListener('DOMContentLoaded', attach);
}

/** Counts what was left out, shown again or shown late; numbers start again at `frames`. */
function judge(pictures, frames) {
  const result = { unreadable: 0, skipped: 0, repeated: 0, backward: 0 };
  let last = null;
  for (const [frame, , presented] of pictures) {
    if (frame === null) {
      result.unreadable += 1;
      continue;
    }
    if (last !== null) {
      const forward = frames > 0 ? (frame - last.frame + frames) % frames : frame - last.frame;
      // Pictures that were shown while the page was not asked are not missing.
      const shown = Math.max(presented - last.presented, 1);
      if (forward === 0) result.repeated += 1;
      else if (forward < 0 || (frames > 0 && forward > frames / 2)) result.backward += 1;
      else result.skipped += Math.max(forward - shown, 0);
    }
    last = { frame, presented };
  }
  return result;
}

/** Ends the page's WHEP session behind its back, so that it is the server that closes it. */
async function endSession(location) {
  if (location === null) throw new Error('the page has opened no WHEP session');
  const { status } = await fetch(location, { method: 'DELETE' });
  if (status !== 200) throw new Error(`DELETE ${location}: ${status}`);
  return Math.round((performance.timeOrigin + performance.now()) * 1000);
}

/** Waits until the camera is that far in its GOP; `sent` lists the frames that it sent last. */
async function reachFrame(sent, gop, wanted) {
  const limit = performance.now() + 60_000;
  while (performance.now() < limit) {
    const frames = await (await fetch(sent)).json();
    if (frames.length > 0 && frames.at(-1).frame % gop >= wanted) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`the camera did not reach frame ${wanted} of its GOP`);
}

async function main() {
  const puppeteer = await installed('puppeteer-core');
  const barcode = await readFile(path.join(root, 'fixtures/barcode.js'), 'utf8');
  const profile = await mkdtemp(path.join(os.tmpdir(), 'gtv-browser-'));
  const browser = await puppeteer.launch({
    browser: args.browser, headless: true, userDataDir: profile, ...LAUNCH[args.browser],
  });
  const errors = [];
  try {
    const page = await browser.newPage();
    // What a person would write into the browser's own dialogue.
    if (args.user !== '') await page.authenticate({ username: args.user, password: args.password });
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    let session = null;
    page.on('response', (response) => {
      const { location } = response.headers();
      if (response.status() === 201 && location) session = new URL(location, response.url()).href;
    });
    const reader = barcode.replace(/^export\s+(default\s+)?/gm, '');
    await page.evaluateOnNewDocument(`${reader};(${watchPictures})()`);
    const visit = async () => {
      await page.goto(args.url, { waitUntil: 'domcontentloaded' });
      return page
        .waitForFunction(() => window.__watch.pictures[0] ?? null, {
          timeout: Number(args.first) * 1000, polling: 50,
        })
        .then((handle) => handle.jsonValue())
        .catch(() => null);
    };
    const cold = await visit();
    if (cold) await page.goto('about:blank');
    if (cold && args.sent !== '') await reachFrame(args.sent, Number(args.gop), Number(args['begin-at']));
    const first = cold && (await visit());
    const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
    let ended = null;
    if (first && args['end-session-after'] !== '') {
      await pause(Number(args['end-session-after']));
      ended = await endSession(session);
    }
    if (first) await pause(Number(args.seconds));
    if (args.screenshot) await page.screenshot({ path: args.screenshot });
    const found = await page.evaluate(async () => {
      const page = window.gtvision;
      const stats = page ? { state: page.state, mode: page.mode, ...(await page.stats()) } : {};
      return {
        pictures: window.__watch.pictures,
        size: window.__watch.size,
        page: JSON.parse(JSON.stringify(stats)),
        dropped: document.querySelector('video')?.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0,
      };
    });
    const seen = found.pictures
      .filter(([frame]) => frame !== null)
      .map(([frame, at]) => ({ frame, seen_unix_us: Math.round(at * 1000) }));
    return {
      first_picture_ms: first ? first[3] : null,
      first_picture_cold_ms: cold ? cold[3] : null,
      pictures: found.pictures.length,
      size: found.size,
      seen,
      ...judge(found.pictures, Number(args.frames)),
      dropped: found.dropped,
      session_ended_unix_us: ended,
      page: found.page,
      errors,
    };
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

console.log(JSON.stringify(await main()));
