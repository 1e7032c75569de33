// Recorded: opens recordings in a real browser and says which picture it shows where.
//
//   node recorded.mjs --steps JSON
//
// Steps, in order: {"hls": URL} opens a playlist with hls.js; {"src": URL} opens a file and shows its second picture;
// {"seek": SECONDS} and {"date": UNIX_MS} go there and read the bar code of the picture shown (fixtures/barcode.js);
// {"play": SECONDS} plays and reads every picture. Prints {"results": [one a step], "errors": [...]}; "ms" in a result says how
// long it took until a picture was shown.
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { installed, read, root } from './arguments.mjs';

const { steps } = read({ steps: undefined });

/** Runs in the page: does one step with its video. */
async function doStep(step) {
  const waited = (promise, what) => Promise.race([
    promise,
    new Promise((_, no) => setTimeout(() => no(new Error(`no ${what} in 30 s`)), 30_000)),
  ]);
  const shown = () => {
    const video = document.querySelector('video');
    const { videoWidth: width, videoHeight: height } = video;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false });
    context.drawImage(video, 0, 0);
    const frame = readBarcode(context.getImageData(0, 0, width, height));
    return { frame, width, at: video.currentTime };
  };
  if (step.hls || step.src) {
    window.hls?.destroy();
    document.body.innerHTML = '<video muted playsinline></video>';
  }
  const video = document.querySelector('video');
  const go = async (at) => {
    const begun = performance.now();
    const there = new Promise((yes) => { video.onseeked = yes; });
    const painted = new Promise((yes) => { video.requestVideoFrameCallback(yes); });
    video.currentTime = at;
    await waited(there, `seek to ${at}`);
    // There is no callback when the picture stays the same.
    await Promise.race([painted, new Promise((yes) => setTimeout(yes, 1000))]);
    const ms = performance.now() - begun;
    await new Promise((yes) => requestAnimationFrame(() => requestAnimationFrame(yes)));
    return { ms, ...shown() };
  };
  if (step.src) {
    const loaded = new Promise((yes, no) => {
      video.onloadeddata = yes;
      video.onerror = () => no(new Error(video.error.message));
    });
    video.src = step.src;
    await waited(loaded, 'first picture of a file');
    // The second picture of 25 a second. While Chromium stands at the first, it may show one that is only decoded from: those
    // of a fragmented clip come within a millisecond before, and it believes that each lasts as long as any.
    return { duration: video.duration, ...await go(0.06) };
  }
  if (step.hls) {
    const begun = performance.now();
    window.hls = new Hls({ enableWorker: false, maxBufferLength: 10 });
    window.hls.on(Hls.Events.ERROR, (_, data) => {
      if (data.fatal) console.error(`hls.js: ${data.details}`);
    });
    const loaded = new Promise((yes) => window.hls.on(Hls.Events.LEVEL_LOADED, (_, data) => yes(data.details)));
    const first = new Promise((yes) => { video.onloadeddata = yes; });
    window.hls.loadSource(step.hls);
    window.hls.attachMedia(video);
    const details = await waited(loaded, 'playlist');
    await waited(first, 'first picture of a playlist');
    window.fragments = details.fragments;
    const ms = performance.now() - begun;
    return { ms, live: details.live, duration: details.totalduration, fragments: details.fragments.length };
  }
  if ('seek' in step) return go(step.seek);
  if ('date' in step) {
    const from = window.fragments.findLast(({ programDateTime }) => programDateTime <= step.date);
    return go(from.start + (step.date - from.programDateTime) / 1000 + 0.005);
  }
  const pictures = [];
  const onPicture = () => {
    pictures.push(shown());
    video.requestVideoFrameCallback(onPicture);
  };
  video.requestVideoFrameCallback(onPicture);
  const from = video.currentTime;
  await video.play();
  const reached = new Promise((yes) => {
    const timer = setInterval(() => {
      if (video.currentTime - from < step.play && !video.ended) return;
      clearInterval(timer);
      yes();
    }, 50);
  });
  await waited(reached, `playing on from ${from}`);
  video.pause();
  return { pictures };
}

async function main() {
  const puppeteer = await installed('puppeteer-core');
  const barcode = await readFile(path.join(root, 'fixtures/barcode.js'), 'utf8');
  const hls = await readFile(path.join(root, 'web/vendor/hls.min.js'), 'utf8');
  const profile = await mkdtemp(path.join(os.tmpdir(), 'gtv-browser-'));
  const browser = await puppeteer.launch({
    browser: 'chrome', headless: true, userDataDir: profile, executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
      '--disable-background-networking', '--disable-component-update', '--disable-web-security',
      '--autoplay-policy=no-user-gesture-required',
    ],
  });
  const errors = [];
  try {
    const page = await browser.newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await page.addScriptTag({ content: hls });
    await page.addScriptTag({ content: barcode.replace(/^export\s+(default\s+)?/gm, '') });
    const results = [];
    for (const step of JSON.parse(steps)) {
      try {
        results.push(await page.evaluate(doStep, step));
      } catch (error) {
        throw new Error(`${JSON.stringify(step)}: ${error.message}; ${errors.join('; ')}`);
      }
    }
    return { results, errors };
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

console.log(JSON.stringify(await main()));
