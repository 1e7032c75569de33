// WHIP: a real browser publishes its fake camera and microphone, until it is told to end.
//
//   node whip.mjs --page URL_OF_THE_SAME_ORIGIN --url WHIP_ENDPOINT
//
// Prints a line of JSON with the session's URL once it is connected. On SIGTERM it deletes the session and ends.
import { installed, read } from './arguments.mjs';

const args = read({ page: undefined, url: undefined });
const puppeteer = await installed('puppeteer-core');

const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});
const page = await browser.newPage();
await page.goto(args.page);

const session = await page.evaluate(async (url) => {
  const media = await navigator.mediaDevices.getUserMedia({
    video: { width: 640, height: 360, frameRate: 25 }, audio: true,
  });
  const peer = new RTCPeerConnection();
  window.__peer = peer;
  for (const track of media.getTracks()) {
    const transceiver = peer.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    if (track.kind === 'video') {
      const codecs = RTCRtpSender.getCapabilities('video').codecs;
      transceiver.setCodecPreferences(codecs.filter((codec) => /H264|rtx/.test(codec.mimeType)));
    }
  }
  await peer.setLocalDescription();
  await new Promise((resolve) => {
    peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
    if (peer.iceGatheringState === 'complete') resolve();
  });
  const answer = await fetch(url, {
    method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: peer.localDescription.sdp,
  });
  const sdp = await answer.text();
  if (answer.status !== 201) throw new Error(`${answer.status}: ${sdp}`);
  const location = new URL(answer.headers.get('Location'), url).href;
  await peer.setRemoteDescription({ type: 'answer', sdp });
  await new Promise((resolve, reject) => {
    const look = () => {
      if (peer.connectionState === 'connected') resolve();
      if (peer.connectionState === 'failed') reject(new Error('not connected'));
    };
    peer.onconnectionstatechange = look;
    look();
  });
  return { location, sdp };
}, args.url);
console.log(JSON.stringify({ ready: true, ...session }));

process.on('SIGTERM', async () => {
  await page.evaluate((url) => fetch(url, { method: 'DELETE' }).then((answer) => answer.status), session.location);
  await browser.close();
  process.exit(0);
});
setInterval(() => {}, 1000);
