/** @file WHEP: headers as servers write them, refusals, and a session against a scripted server. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IceServers, WhepError, WhepSession, iceServersFrom, parseLinks, refusal, retryAfter, trickleFragment } from '../player/whep.js';

const URL_WHEP = 'http://city.example:8889/city/cam_1/whep';

/** Shortened from an offer of Chromium. */
const OFFER = [
  'v=0',
  'o=- 1 2 IN IP4 127.0.0.1',
  'a=group:BUNDLE 0 1',
  'm=video 9 UDP/TLS/RTP/SAVPF 96 97',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
  'a=mid:0',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
  'a=mid:1',
  '',
].join('\r\n');
const CANDIDATE = 'candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw';

describe('Link', () => {
  test('ice servers as in the example of RFC 9725 s4.6', () => {
    const header =
      '<stun:stun.example.net>; rel="ice-server", ' +
      '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; credential="myPassword"; credential-type="password", ' +
      '<turns:turn.example.net?transport=tcp>; rel="ice-server"; username="user"; credential="myPassword"; credential-type="password"';
    assert.deepEqual(iceServersFrom(parseLinks(header)), [
      { urls: 'stun:stun.example.net' },
      { urls: 'turn:turn.example.net?transport=udp', username: 'user', credential: 'myPassword' },
      { urls: 'turns:turn.example.net?transport=tcp', username: 'user', credential: 'myPassword' },
    ]);
  });

  test('commas, semicolons and escapes inside quotes and targets belong to them', () => {
    const [first, second] = parseLinks(
      '<http://a.example/x,y;z>; title="a, \\"b\\"; <c>"; rel=alternate, <http://b.example/>; rel="next alternate"',
    );
    assert.equal(first.url, 'http://a.example/x,y;z');
    assert.deepEqual(first.params, { title: 'a, "b"; <c>', rel: 'alternate' });
    assert.equal(second.params.rel, 'next alternate');
  });

  test('a link of another kind is no ice server, nor is an address of another scheme', () => {
    const header = '<http://a.example/>; rel="ice-server", <stun:a.example>; rel="alternate"';
    assert.deepEqual(iceServersFrom(parseLinks(header)), []);
  });

  test('garbage gives no links, and endless links end', () => {
    for (const garbage of [null, '', '<', '<>', 'x; y', '<http://[>; rel=a', ';;,,""']) {
      assert.deepEqual(parseLinks(garbage), []);
    }
    assert.equal(parseLinks('<stun:a.example>; rel="ice-server",'.repeat(500)).length, 32);
  });
});

describe('refusal', () => {
  const answer = (status, headers = {}, body = '') =>
    refusal({ status, headers: new Headers(headers), url: URL_WHEP }, body);

  test('a link to hls is where to go, relative to the endpoint', () => {
    const link = '</city/cam_1/index.m3u8>; rel="alternate"; type="application/vnd.apple.mpegurl"';
    const error = answer(406, { link }, '{"status":"error","error":"stream has B-frames"}');
    assert.equal(error.kind, 'refused');
    assert.equal(error.fallbackUrl, 'http://city.example:8889/city/cam_1/index.m3u8');
    assert.match(error.message, /stream has B-frames/);
  });

  test('the word hls in the body is enough', () => {
    const error = answer(400, {}, '{"status":"error","error":"B-frames","fallback":"hls"}');
    assert.equal(error.kind, 'refused');
    assert.equal(error.fallbackUrl, undefined);
  });

  test('a link that is not http is not followed', () => {
    const link = '<javascript:alert(1)>; rel="alternate"; type="application/vnd.apple.mpegurl"';
    assert.equal(answer(406, { link }).kind, 'network');
  });

  test('a failing server with a fallback is still a failing server', () => {
    assert.equal(answer(503, {}, '{"fallback":"hls"}').kind, 'absent');
  });

  test('each status has its kind', () => {
    const kinds = { 401: 'denied', 403: 'denied', 404: 'absent', 409: 'absent', 503: 'absent', 400: 'network', 500: 'network' };
    for (const [status, kind] of Object.entries(kinds)) assert.equal(answer(Number(status)).kind, kind, status);
  });

  test('retry-after in seconds is kept; a date, a sign or a flood of digits is not', () => {
    assert.equal(answer(409, { 'retry-after': '5' }).retryAfterMs, 5000);
    assert.equal(retryAfter('0'), 0);
    for (const odd of [null, '', '-1', '1.5', 'Fri, 31 Dec 1999 23:59:59 GMT', '9'.repeat(400)]) {
      assert.equal(retryAfter(odd), undefined);
    }
  });

  test('a body that is no json, or json of another shape, is no harm', () => {
    for (const body of ['', '<html>', 'null', '[]', '"x"', '{"error":{}}']) assert.equal(answer(500, {}, body).kind, 'network');
  });
});

describe('trickle fragment', () => {
  test('it names the credentials, the first section and its candidates (RFC 8840 s9)', () => {
    assert.equal(
      trickleFragment(OFFER, [CANDIDATE], true),
      'a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n' +
        `a=${CANDIDATE}\r\na=end-of-candidates\r\n`,
    );
  });

  test('nothing to say is not said', () => {
    assert.equal(trickleFragment(OFFER, [], false), null);
    assert.equal(trickleFragment('', [CANDIDATE], true), null);
  });
});

/** A peer connection that only keeps what it is given. */
class FakePeer extends EventTarget {
  configuration = {};
  localDescription = null;
  remoteDescription = null;
  createOffer() {
    return Promise.resolve({ type: 'offer', sdp: OFFER });
  }
  getConfiguration() {
    return this.configuration;
  }
  setConfiguration(configuration) {
    this.configuration = configuration;
  }
  async setLocalDescription(description) {
    this.localDescription = description;
    this.find(CANDIDATE);
  }
  async setRemoteDescription(description) {
    if (description.sdp === 'bad') throw new Error('no v= line');
    this.remoteDescription = description;
  }
  find(candidate) {
    this.dispatchEvent(Object.assign(new Event('icecandidate'), { candidate: { candidate } }));
  }
  finish() {
    this.dispatchEvent(Object.assign(new Event('icecandidate'), { candidate: null }));
  }
}

/** A server that writes down what it is asked and answers from a table. */
function scripted(answers = {}) {
  const log = [];
  const waiting = [];
  const fetchFn = async (url, options) => {
    log.push({ url, ...options });
    for (const wake of waiting.splice(0)) wake();
    const made = answers[options.method];
    if (made instanceof Error) throw made;
    if (typeof made === 'function') return made();
    return made ?? new Response(null, { status: 204 });
  };
  const until = async (method) => {
    while (!log.some((entry) => entry.method === method)) await new Promise((wake) => waiting.push(wake));
    return log.find((entry) => entry.method === method);
  };
  return { log, fetchFn, until };
}

function created(headers = {}, sdp = 'v=0\r\n') {
  return new Response(sdp, { status: 201, headers: { location: '/city/cam_1/whep/1234', ...headers } });
}

function session(server) {
  const peer = new FakePeer();
  const iceServers = new IceServers(URL_WHEP, server.fetchFn);
  return { peer, iceServers, whep: new WhepSession({ url: URL_WHEP, peer, iceServers, fetchFn: server.fetchFn }) };
}

describe('session', () => {
  test('it asks for ice servers, posts the offer and takes the answer', async () => {
    const link = '<stun:stun.example.net>; rel="ice-server"';
    const server = scripted({ OPTIONS: new Response(null, { status: 204, headers: { link } }), POST: created() });
    const { peer, whep } = session(server);
    await whep.open(0);
    assert.deepEqual(peer.configuration.iceServers, [{ urls: 'stun:stun.example.net' }]);
    const post = server.log.find((entry) => entry.method === 'POST');
    assert.equal(post.headers['Content-Type'], 'application/sdp');
    assert.equal(post.body, OFFER);
    assert.equal(peer.remoteDescription.sdp, 'v=0\r\n');
    whep.close();
  });

  test('ice servers are not asked for again by the next session', async () => {
    const server = scripted({ POST: created });
    const { iceServers, whep } = session(server);
    await whep.open(0);
    const again = new WhepSession({ url: URL_WHEP, peer: new FakePeer(), iceServers, fetchFn: server.fetchFn });
    await again.open(1000);
    assert.equal(server.log.filter((entry) => entry.method === 'OPTIONS').length, 1);
    whep.close();
    again.close();
  });

  test('a server without OPTIONS is no obstacle', async () => {
    const server = scripted({ OPTIONS: new Error('refused'), POST: created() });
    const { peer, whep } = session(server);
    await whep.open(0);
    assert.notEqual(peer.remoteDescription, null);
    whep.close();
  });

  test('candidates follow by PATCH to the location, with its etag', async () => {
    const server = scripted({ POST: created({ etag: '"abc"' }) });
    const { peer, whep } = session(server);
    await whep.open(0);
    peer.finish();
    const patch = await server.until('PATCH');
    assert.equal(patch.url, 'http://city.example:8889/city/cam_1/whep/1234');
    assert.equal(patch.headers['Content-Type'], 'application/trickle-ice-sdpfrag');
    assert.equal(patch.headers['If-Match'], '"abc"');
    assert.ok(patch.body.includes(CANDIDATE) && patch.body.includes('a=end-of-candidates'));
    whep.close();
  });

  test('close deletes the session even while the page goes away, once', async () => {
    const server = scripted({ POST: created() });
    const { whep } = session(server);
    await whep.open(0);
    whep.close();
    whep.close();
    const deletes = server.log.filter((entry) => entry.method === 'DELETE');
    assert.equal(deletes.length, 1);
    assert.equal(deletes[0].url, 'http://city.example:8889/city/cam_1/whep/1234');
    assert.equal(deletes[0].keepalive, true);
  });

  test('a session closed while its offer was under way is deleted when the answer comes', async () => {
    let answer;
    const server = scripted({ POST: () => new Promise((resolve) => (answer = () => resolve(created()))) });
    const { whep } = session(server);
    const opening = assert.rejects(whep.open(0), (error) => error.kind === 'ended');
    await server.until('POST');
    whep.close();
    answer();
    await opening;
    assert.ok(server.log.some((entry) => entry.method === 'DELETE'));
  });

  test('a refusal, a dead server and an answer that is no sdp each have their kind', async () => {
    const kindOf = async (answers) => {
      const { whep } = session(scripted(answers));
      const error = await whep.open(0).catch((caught) => caught);
      assert.ok(error instanceof WhepError);
      whep.close();
      return error.kind;
    };
    assert.equal(await kindOf({ POST: new Response('{"fallback":"hls"}', { status: 406 }) }), 'refused');
    assert.equal(await kindOf({ POST: new TypeError('fetch failed') }), 'network');
    assert.equal(await kindOf({ POST: created({}, 'bad') }), 'media');
  });
});
