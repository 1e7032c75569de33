/** @file Publisher page: what is asked of the browser, what is offered, and which word a failure gets. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BITRATE, bitrateKbps, cameraConstraints, captureTrouble, codecNames, codecsFor, retryAfterMs, screenConstraints, sessionTrouble,
  soundConstraints,
} from '../publisher/choice.js';
import { WhepError, refusal } from '../player/whep.js';
import { textsFor } from '../i18n.js';

/** As Chromium lists them, shortened. */
const CODECS = ['VP8', 'rtx', 'VP9', 'H264', 'H264', 'AV1', 'H265', 'red', 'ulpfec'].map((name) => ({ mimeType: `video/${name}` }));
const CHOICE = { source: 'camera', camera: '', microphone: '', codec: 'H264', bitrateKbps: 2000 };

test('codecs that the server does not take are not offered, and the chosen one is alone', () => {
  assert.deepEqual(codecNames(CODECS), ['H264', 'H265']);
  assert.deepEqual(codecNames([{ mimeType: 'video/VP8' }]), []);
  const offered = codecsFor(CODECS, 'H264').map(({ mimeType }) => mimeType.slice(6));
  assert.deepEqual(offered, ['rtx', 'H264', 'H264', 'red', 'ulpfec']);
});

test('a chosen device is asked for by its id, and none for no sound', () => {
  const usual = cameraConstraints(CHOICE);
  assert.equal(usual.video.deviceId, undefined);
  assert.deepEqual(usual.audio, {});
  const chosen = cameraConstraints({ ...CHOICE, camera: 'c1', microphone: 'm1' });
  assert.deepEqual(chosen.video.deviceId, { exact: 'c1' });
  assert.deepEqual(chosen.audio, { deviceId: { exact: 'm1' } });
  assert.equal(cameraConstraints({ ...CHOICE, microphone: null }).audio, false);
  // A screen brings its picture; the sound is the microphone's.
  assert.equal(screenConstraints().audio, false);
  assert.equal(soundConstraints(null), false);
});

test('a bit rate is what was typed, within bounds', () => {
  const said = { 1500: 1500, '1500.4': 1500, 1: BITRATE.min, 1e9: BITRATE.max, '': BITRATE.usual, ' ': BITRATE.usual, much: BITRATE.usual };
  for (const [text, kbps] of Object.entries(said)) assert.equal(bitrateKbps(text), kbps, text);
});

test('every failure of a capture or a server has its own word in both languages', () => {
  const named = (name) => Object.assign(new Error('x'), { name });
  const captures = {
    NotAllowedError: 'forbidden', NotFoundError: 'missing', OverconstrainedError: 'missing', NotReadableError: 'busy', Odd: 'unknown',
  };
  for (const [name, trouble] of Object.entries(captures)) assert.equal(captureTrouble(named(name)), trouble);
  assert.equal(captureTrouble('what'), 'unknown');

  const answers = {
    400: 'closed', 401: 'denied', 403: 'denied', 404: 'closed', 406: 'refused', 409: 'taken', 500: 'network', 503: 'network',
  };
  for (const [status, trouble] of Object.entries(answers)) {
    const error = refusal({ status: Number(status), headers: new Headers() }, '{"error": "x"}');
    assert.equal(sessionTrouble(error), trouble, status);
  }
  assert.equal(sessionTrouble(new WhepError('ice', 'x')), 'unreachable');
  assert.equal(sessionTrouble(new WhepError('media', 'x')), 'refused');
  assert.equal(sessionTrouble(new WhepError('network', 'x')), 'network');
  for (const language of ['pt', 'en']) {
    const { troubles } = textsFor(language).publisher;
    for (const trouble of [...Object.values(captures), ...Object.values(answers), 'insecure', 'unsupported', 'ended', 'unreachable']) {
      assert.ok(troubles[trouble].length > 10, trouble);
    }
  }
});

test('what may pass is tried again ever more slowly, and what will not is said at once', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 99].map((n) => retryAfterMs('network', n)), [1000, 2000, 5000, 10_000, 10_000, 10_000]);
  assert.equal(retryAfterMs('unreachable', 1), 1000);
  for (const trouble of ['denied', 'taken', 'closed', 'refused', 'forbidden', 'ended']) assert.equal(retryAfterMs(trouble, 1), null);
});
