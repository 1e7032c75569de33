/** @file HLS: what hls.js's errors mean, playlists for tiles, and the vendored file itself. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { catchUpRate, kindOfError, tilePlaylist } from '../player/hls-source.js';
import { playlistUrl } from '../player/player.js';

test('a camera not yet seen, a closed door and a dead server are told apart', () => {
  const network = (code) => kindOfError({ type: 'networkError', details: 'manifestLoadError', response: { code } });
  assert.equal(network(404), 'absent');
  assert.equal(network(503), 'absent');
  assert.equal(network(401), 'denied');
  assert.equal(network(0), 'network');
  assert.equal(kindOfError({ type: 'networkError', details: 'manifestLoadTimeOut' }), 'network');
});

test('a codec that the browser lacks is not an outage', () => {
  assert.equal(kindOfError({ type: 'mediaError', details: 'manifestIncompatibleCodecsError' }), 'unsupported');
  assert.equal(kindOfError({ type: 'mediaError', details: 'bufferAddCodecError' }), 'unsupported');
  assert.equal(kindOfError({ type: 'mediaError', details: 'bufferAppendError' }), 'media');
});

test('a player behind live speeds up by little, more when far, and never without a buffer', () => {
  const rate = (latencyS, bufferS) => catchUpRate({ latencyS, targetS: 0.6, bufferS });
  assert.equal(rate(0.6, 0.5), 1);
  assert.equal(rate(0.64, 0.5), 1);
  assert.equal(rate(1, 0.8), 1.1);
  assert.equal(rate(9, 8), 1.3);
  assert.equal(rate(1, 0.2), 1);
  assert.equal(rate(Number.NaN, 1), 1);
  assert.equal(catchUpRate({ latencyS: 5, targetS: 0, bufferS: 5 }), 1);
});

test('a tile polls: its playlist offers no blocking reload and keeps the rest', () => {
  const control = '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,CAN-SKIP-UNTIL=12.0';
  const rest = '#EXT-X-TARGETDURATION:2\n#EXT-X-PART:DURATION=0.2,URI="a"\n#EXTINF:1,CAN-BLOCK-RELOAD=YES\n';
  assert.deepEqual(tilePlaylist(`#EXTM3U\n${control}\n${rest}`), {
    playlist: `#EXTM3U\n${control.replace('=YES', '=NO')}\n${rest}`,
    settings: {},
  });
  assert.equal(
    tilePlaylist('#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=0.6,CAN-BLOCK-RELOAD=YES').playlist,
    '#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=0.6,CAN-BLOCK-RELOAD=NO',
  );
});

test('a tile of a camera with a long GOP takes parts and is seconds behind, not two GOPs', () => {
  const parts = '#EXT-X-PART:DURATION=0.2,URI="a"\n';
  const { playlist, settings } = tilePlaylist(`#EXTM3U\n#EXT-X-TARGETDURATION:21\n${parts}`);
  assert.equal(playlist, `#EXTM3U\n#EXT-X-TARGETDURATION:2\n${parts}`);
  assert.equal(settings.lowLatencyMode, true);
  assert.ok(settings.liveSyncDuration <= 6 && settings.liveMaxLatencyDuration > settings.liveSyncDuration);
  assert.deepEqual(tilePlaylist(`#EXTM3U\n#EXT-X-TARGETDURATION:21\n${parts}`, false).settings, {}, 'they came too slowly');
  // hlsVariant fmp4 has no parts to take.
  assert.deepEqual(tilePlaylist('#EXTM3U\n#EXT-X-TARGETDURATION:21\n#EXTINF:20,\n').settings, {});
});

test('a camera page leads to its playlist, a playlist to itself', () => {
  assert.equal(playlistUrl('http://a.example:8888/cam_1/'), 'http://a.example:8888/cam_1/index.m3u8');
  assert.equal(playlistUrl('http://a.example:8888/cam_1?token=x'), 'http://a.example:8888/cam_1/index.m3u8?token=x');
  assert.equal(playlistUrl('http://a.example/c/index.m3u8?t=1'), 'http://a.example/c/index.m3u8?t=1');
});

test('hls.js is the file that the table names, with its licence beside it', async () => {
  const vendor = new URL('../vendor/', import.meta.url);
  const [script, table, licence] = await Promise.all([
    readFile(new URL('hls.min.js', vendor)),
    readFile(new URL('README.md', vendor), 'utf8'),
    readFile(new URL('hls.js-LICENSE', vendor), 'utf8'),
  ]);
  assert.ok(table.includes(createHash('sha256').update(script).digest('hex')));
  assert.match(licence, /Apache License, Version 2\.0/);
});
