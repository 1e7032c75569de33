// Publisher page: a real browser opens it with its fake camera and microphone, and presses its button.
//
//   node publish_page.mjs --url PAGE --refused PAGE_OF_ANOTHER_PATH
//
// Prints a line of JSON once it is on air: the codecs it offers ("codecs"), its words ("said"), and what the page of the other path said
// ("refused", with its "trouble"). On SIGTERM it presses the button again, and ends.
import { installed, read } from './arguments.mjs';

const args = read({ url: undefined, refused: undefined });
const puppeteer = await installed('puppeteer-core');

const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  // The page is to say goodbye first.
  handleSIGTERM: false,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});

/** Opens a page in Portuguese, presses its button, and waits for one of these states. */
async function press(url, ...states) {
  const page = await browser.newPage();
  const broken = [];
  page.on('pageerror', (error) => broken.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && broken.push(line.text()));
  await page.evaluateOnNewDocument(() => {
    Object.defineProperty(Navigator.prototype, 'language', { get: () => 'pt-BR' });
  });
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector('#camera')?.options.length > 0);
  await page.click('.start');
  await page.waitForFunction((wanted) => wanted.includes(window.gtvision.state), { timeout: 40_000 }, states);
  return { page, broken };
}

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);

const other = await press(args.refused, 'failed');
const refused = await text(other.page, '.message');
const trouble = await other.page.evaluate(() => window.gtvision.trouble);
await other.page.close();

const { page, broken } = await press(args.url, 'live', 'failed');
const state = await page.evaluate(() => window.gtvision.state);
const codecs = await page.$$eval('#codec option', (options) => options.map((option) => option.value));
const said = await text(page, '.message');
const title = await text(page, 'h1');
console.log(JSON.stringify({ ready: true, state, title, codecs, said, refused, trouble, broken }));

process.on('SIGTERM', async () => {
  const deleted = page.waitForResponse((answer) => answer.request().method() === 'DELETE');
  await page.click('.start');
  await page.waitForFunction(() => window.gtvision.state === 'idle');
  await deleted;
  await browser.close();
  process.exit(0);
});
setInterval(() => {}, 1000);
