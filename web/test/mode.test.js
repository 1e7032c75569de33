/** @file Mode: WebRTC until it is refused or unreachable, HLS then, and back when HLS fails. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModeChoice, REFUSAL_MS, UNREACHABLE_MAX } from '../player/mode.js';

test('a refusal switches to hls at once', () => {
  const choice = new ModeChoice('webrtc');
  choice.handleRefused(0);
  assert.equal(choice.mode, 'hls');
});

test('hls that fails within a minute of the refusal is tried again as hls', () => {
  const choice = new ModeChoice('webrtc');
  choice.handleRefused(0);
  choice.handleHlsFailed(REFUSAL_MS - 1);
  assert.equal(choice.mode, 'hls');
});

test('hls that fails later gives webrtc another chance, and a new refusal counts anew', () => {
  const choice = new ModeChoice('webrtc');
  choice.handleRefused(0);
  choice.handleHlsFailed(REFUSAL_MS);
  assert.equal(choice.mode, 'webrtc');
  choice.handleRefused(REFUSAL_MS + 1);
  choice.handleHlsFailed(REFUSAL_MS + 2);
  assert.equal(choice.mode, 'hls');
});

test('media that never finds a way falls back after a few attempts', () => {
  const choice = new ModeChoice('webrtc');
  for (let i = 1; i < UNREACHABLE_MAX; i += 1) choice.handleUnreachable(i);
  assert.equal(choice.mode, 'webrtc');
  choice.handleUnreachable(9);
  assert.equal(choice.mode, 'hls');
});

test('media that arrived forgives attempts before it', () => {
  const choice = new ModeChoice('webrtc');
  for (let i = 0; i < 20; i += 1) {
    choice.handleUnreachable(i);
    choice.handleReached();
  }
  assert.equal(choice.mode, 'webrtc');
});

test('an hls page stays with hls', () => {
  const choice = new ModeChoice('hls');
  choice.handleHlsFailed(1e9);
  assert.equal(choice.mode, 'hls');
});
