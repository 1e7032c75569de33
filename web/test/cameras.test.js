/** @file Cameras: the server's list, the filter, and who plays. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CAMERAS_MAX, PLAYERS_MAX, camerasFrom, choosePlaying, matches, stateFrom } from '../grid/cameras.js';

const HERE = { protocol: 'http:', hostname: 'city.example' };

describe('list', () => {
  test('a camera as the server describes it', () => {
    const [camera] = camerasFrom(
      {
        items: [
          {
            name: 'cam_1',
            state: 'online',
            stateReason: '',
            stateSince: '2026-01-02T03:04:05Z',
            online: true,
            tracks: ['H264', 'MPEG-4 Audio'],
            readers: 3,
            hlsUrl: 'http://city.example:8888/cam_1/',
            webrtcUrl: 'http://city.example:8889/cam_1/',
          },
        ],
        hlsPort: 8888,
        webrtcPort: 8889,
      },
      HERE,
    );
    assert.deepEqual(camera, {
      name: 'cam_1',
      state: 'online',
      stateText: 'online',
      reason: '',
      since: Date.UTC(2026, 0, 2, 3, 4, 5),
      online: true,
      tracks: 'H264, MPEG-4 Audio',
      readers: 3,
      playlistUrl: 'http://city.example:8888/cam_1/',
      pageUrl: 'http://city.example:8889/cam_1/',
    });
  });

  test('addresses that are missing are built from the page’s host and the ports', () => {
    const [camera] = camerasFrom({ items: [{ name: 'city/são 1/cam#1' }], hlsPort: 18_888 }, HERE);
    assert.equal(camera.playlistUrl, 'http://city.example:18888/city/s%C3%A3o%201/cam%231/');
    assert.equal(camera.pageUrl, 'http://city.example:8889/city/s%C3%A3o%201/cam%231/');
  });

  test('players get the session that the server gave to the page, and links do not', () => {
    const session = '0123456789abcdef0123456789abcdef';
    const [camera] = camerasFrom({ items: [{ name: 'a' }], session }, HERE);
    assert.equal(camera.playlistUrl, `http://city.example:8888/a/session=${session}/`);
    assert.equal(camera.pageUrl, 'http://city.example:8889/a/');
    for (const odd of ['', '../', session.toUpperCase(), 7]) {
      assert.equal(camerasFrom({ items: [{ name: 'a' }], session: odd }, HERE)[0].playlistUrl, 'http://city.example:8888/a/');
    }
  });

  test('an address that is not http is not used', () => {
    for (const webrtcUrl of ['javascript:alert(1)', 'data:text/html,x', '//evil.example/', 'http://[', 7]) {
      const [camera] = camerasFrom({ items: [{ name: 'a', webrtcUrl }] }, HERE);
      assert.equal(camera.pageUrl, 'http://city.example:8889/a/');
    }
  });

  test('cam_2 stands before cam_10', () => {
    const names = camerasFrom({ items: [{ name: 'cam_10' }, { name: 'cam_2' }] }, HERE).map(({ name }) => name);
    assert.deepEqual(names, ['cam_2', 'cam_10']);
  });

  test('an answer of any other shape is an empty list or a camera with gaps', () => {
    for (const odd of [null, 1, 'x', [], {}, { items: 1 }, { items: [null, 1, [], {}, { name: 7 }] }]) {
      assert.deepEqual(camerasFrom(odd, HERE), []);
    }
    const [camera] = camerasFrom({ items: [{ name: 'a', tracks: 'x', readers: -2, stateSince: 'never' }] }, HERE);
    assert.deepEqual([camera.tracks, camera.readers, camera.since, camera.online], ['', 0, null, false]);
  });

  test('it ends at its limit, and a name twice is one camera', () => {
    const items = Array.from({ length: CAMERAS_MAX + 5 }, (_, index) => ({ name: `c${index}` }));
    assert.equal(camerasFrom({ items }, HERE).length, CAMERAS_MAX);
    assert.equal(camerasFrom({ items: [{ name: 'a' }, { name: 'a' }] }, HERE).length, 1);
  });
});

test('a state is known however it is spelt', () => {
  for (const spelt of ['backing off', 'backing_off', 'backingOff', 'BACKING-OFF']) assert.equal(stateFrom(spelt), 'backingoff');
  assert.equal(stateFrom('openCircuit'), 'opencircuit');
  assert.equal(stateFrom('circuit_open'), 'opencircuit');
  for (const other of ['', 'constructor', '__proto__', null, 3]) assert.equal(stateFrom(other), 'unknown');
});

test('the filter ignores case, accents and the order of words', () => {
  assert.ok(matches('Praça da Sé 2', 'se praca'));
  assert.ok(matches('cam_1', ''));
  assert.ok(!matches('cam_1', 'cam 2'));
});

describe('who plays', () => {
  const tiles = (count, more = {}) =>
    Array.from({ length: count }, (_, index) => ({ name: `c${index}`, online: true, visible: true, playing: false, ...more }));

  test('those in sight and online, the first sixteen', () => {
    const chosen = choosePlaying([...tiles(3, { visible: false }), ...tiles(2, { online: false }), ...tiles(40)]);
    assert.equal(chosen.size, PLAYERS_MAX);
    assert.ok(chosen.has('c0') && chosen.has('c15') && !chosen.has('c16'));
  });

  test('one that plays is not stopped for a newcomer above it', () => {
    const all = tiles(20);
    all[19].playing = true;
    const chosen = choosePlaying(all);
    assert.ok(chosen.has('c19') && !chosen.has('c15'));
  });

  test('one that plays rides through its camera’s outage while in sight', () => {
    assert.ok(choosePlaying(tiles(1, { online: false, playing: true })).has('c0'));
    assert.equal(choosePlaying(tiles(1, { visible: false, playing: true })).size, 0);
  });
});
