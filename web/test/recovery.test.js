/** @file Recovery: every outage ends in another attempt, never too soon and never in vain. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS, Recovery } from '../player/recovery.js';

/** No jitter: 0.75 + 0.5 * 0.5 = 1. */
const middle = () => 0.5;

/** Fails each attempt at once; returns the pauses between attempts. */
function pauses(recovery, count, failure = { kind: 'network' }) {
  const found = [];
  let now = 0;
  assert.equal(recovery.start(now), 'open');
  for (let i = 0; i < count; i += 1) {
    assert.equal(recovery.handleFailure(failure, now), 'close');
    const due = recovery.pollTimeout();
    found.push(due - now);
    now = due;
    assert.equal(recovery.handleTimeout(now), 'open');
  }
  return found;
}

function playing(now = 0) {
  const recovery = new Recovery(middle);
  recovery.start(now);
  recovery.handlePicture(now);
  return recovery;
}

describe('back-off', () => {
  test('it doubles from half a second to five seconds and stays there', () => {
    assert.deepEqual(pauses(new Recovery(middle), 7), [500, 1000, 2000, 4000, 5000, 5000, 5000]);
  });

  test('it never ends, however many attempts fail', () => {
    assert.equal(pauses(new Recovery(middle), 5000).at(-1), 5000);
  });

  test('jitter spreads viewers over a quarter each way', () => {
    assert.deepEqual(pauses(new Recovery(() => 0), 1), [375]);
    assert.equal(Math.round(pauses(new Recovery(() => 0.999_999), 1)[0]), 625);
  });

  test('an attempt that lasted longer than the pause is followed soon', () => {
    const recovery = new Recovery(middle);
    pauses(recovery, 5);
    const opened = recovery.pollTimeout() - LIMITS.connectMs;
    const failedAt = opened + LIMITS.connectMs;
    assert.equal(recovery.handleTimeout(failedAt), 'close');
    assert.equal(recovery.pollTimeout() - failedAt, LIMITS.retryMinMs);
  });

  test('one picture does not make a failing camera fresh again', () => {
    const recovery = new Recovery(middle);
    pauses(recovery, 4);
    const opened = recovery.pollTimeout() - LIMITS.connectMs;
    recovery.handlePicture(opened + 10);
    recovery.handleFailure({ kind: 'network' }, opened + 20);
    assert.ok(recovery.pollTimeout() - opened >= LIMITS.retryMaxMs);
  });

  test('ten seconds of pictures do', () => {
    const recovery = new Recovery(middle);
    pauses(recovery, 4);
    let now = recovery.pollTimeout() - LIMITS.connectMs;
    for (let i = 0; i <= 20; i += 1, now += 500) recovery.handlePicture(now);
    recovery.handleFailure({ kind: 'network' }, now);
    assert.equal(recovery.pollTimeout() - now, LIMITS.retryMinMs);
  });

  test('the server may ask for more, up to a minute', () => {
    assert.deepEqual(pauses(new Recovery(middle), 1, { kind: 'absent', retryAfterMs: 7000 }), [7000]);
    assert.deepEqual(pauses(new Recovery(middle), 1, { kind: 'absent', retryAfterMs: 9e9 }), [LIMITS.retryAfterMaxMs]);
    assert.deepEqual(pauses(new Recovery(middle), 1, { kind: 'absent', retryAfterMs: 0 }), [500]);
  });

  test('a browser that cannot play the codec asks again only now and then', () => {
    assert.deepEqual(pauses(new Recovery(middle), 1, { kind: 'unsupported' }), [LIMITS.refusalMs]);
  });
});

describe('pictures', () => {
  test('none for five seconds is a stall', () => {
    const recovery = playing();
    assert.equal(recovery.handleTimeout(LIMITS.stallMs - 1), 'none');
    assert.equal(recovery.handleTimeout(LIMITS.stallMs), 'close');
    assert.equal(recovery.counters().failures.stalled, 1);
  });

  test('each one moves the deadline', () => {
    const recovery = playing();
    recovery.handlePicture(4000);
    assert.equal(recovery.pollTimeout(), 4000 + LIMITS.stallMs);
  });

  test('an attempt without any is given up', () => {
    const recovery = new Recovery(middle);
    recovery.start(0);
    assert.equal(recovery.handleTimeout(LIMITS.connectMs), 'close');
    assert.equal(recovery.counters().failures.timeout, 1);
  });

  test('a late one from a closed source changes nothing', () => {
    const recovery = playing();
    recovery.handleFailure({ kind: 'network' }, 100);
    recovery.handlePicture(110);
    assert.equal(recovery.phase, 'waiting');
    assert.equal(recovery.view(110).sinceMs, 110);
  });
});

describe('suspension', () => {
  test('a hidden tab is not judged for missing pictures', () => {
    const recovery = playing();
    recovery.suspend('hidden');
    assert.equal(recovery.pollTimeout(), null);
    assert.equal(recovery.handleTimeout(1e9), 'none');
  });

  test('after sleep the judging begins anew', () => {
    const recovery = playing();
    recovery.suspend('hidden');
    assert.equal(recovery.resume('hidden', 1e6), 'none');
    assert.equal(recovery.pollTimeout(), 1e6 + LIMITS.stallMs);
  });

  test('a tab that comes to the front does not sit out the pause', () => {
    const recovery = playing();
    recovery.suspend('hidden');
    recovery.handleFailure({ kind: 'ice' }, 100);
    assert.equal(recovery.resume('hidden', 101), 'open');
  });

  test('a hidden tab goes on trying after a failure', () => {
    const recovery = playing();
    recovery.suspend('hidden');
    recovery.handleFailure({ kind: 'ice' }, 100);
    assert.equal(recovery.handleTimeout(recovery.pollTimeout()), 'open');
  });

  test('play that is not allowed is said, and not judged until the viewer allows it', () => {
    const recovery = new Recovery(middle);
    recovery.start(0);
    recovery.suspend('blocked');
    assert.equal(recovery.view(20_000).signal, 'blocked');
    assert.equal(recovery.pollTimeout(), null);
    recovery.resume('blocked', 30_000);
    assert.equal(recovery.pollTimeout(), 30_000 + LIMITS.connectMs);
  });
});

describe('hurry', () => {
  test('a network that is back ends the pause', () => {
    const recovery = playing();
    recovery.handleFailure({ kind: 'network' }, 100);
    assert.equal(recovery.hurry(101), 'open');
  });

  test('a pause that the server asked for is kept', () => {
    const recovery = playing();
    recovery.handleFailure({ kind: 'absent', retryAfterMs: 5000 }, 100);
    assert.equal(recovery.hurry(101), 'none');
  });

  test('it does nothing to a source that is open', () => {
    assert.equal(playing().hurry(1), 'none');
  });
});

describe('what a person is told', () => {
  test('at first it connects, without a word for a moment', () => {
    const recovery = new Recovery(middle);
    recovery.start(0);
    assert.deepEqual(recovery.view(1000), { signal: 'connecting', sinceMs: 1000, shown: false });
    assert.deepEqual(recovery.view(2000), { signal: 'connecting', sinceMs: 2000, shown: true });
  });

  test('a camera never seen is lost once an attempt failed', () => {
    const recovery = new Recovery(middle);
    recovery.start(0);
    recovery.handleFailure({ kind: 'absent' }, 2000);
    assert.equal(recovery.view(2000).signal, 'lost');
  });

  test('a server that never answers is lost after five seconds', () => {
    const recovery = new Recovery(middle);
    recovery.start(0);
    assert.equal(recovery.view(LIMITS.firstPictureMs).signal, 'lost');
  });

  test('the time without signal counts from the last picture, over all attempts', () => {
    const recovery = playing(1000);
    recovery.handleFailure({ kind: 'network' }, 1100);
    recovery.handleTimeout(recovery.pollTimeout());
    recovery.handleFailure({ kind: 'network' }, 9000);
    assert.deepEqual(recovery.view(11_000), { signal: 'lost', sinceMs: 10_000, shown: true });
  });

  test('a gap that nobody would notice is not said', () => {
    const recovery = playing();
    recovery.handleFailure({ kind: 'network' }, 100);
    assert.equal(recovery.view(LIMITS.overlayMs - 1).shown, false);
    assert.equal(recovery.view(LIMITS.overlayMs).shown, true);
  });

  test('pictures end the message', () => {
    const recovery = playing();
    recovery.handleFailure({ kind: 'network' }, 100);
    recovery.handleTimeout(recovery.pollTimeout());
    recovery.handlePicture(9000);
    assert.deepEqual(recovery.view(9000), { signal: 'playing', sinceMs: 0, shown: false });
  });
});

describe('start and stop', () => {
  test('stop closes an open source, and nothing wakes it afterwards', () => {
    const recovery = playing();
    assert.equal(recovery.stop(), 'close');
    assert.equal(recovery.pollTimeout(), null);
    assert.equal(recovery.handleFailure({ kind: 'network' }, 1), 'none');
    assert.equal(recovery.hurry(2), 'none');
  });

  test('stop during a pause has nothing to close', () => {
    const recovery = playing();
    recovery.handleFailure({ kind: 'network' }, 1);
    assert.equal(recovery.stop(), 'none');
  });

  test('a page that comes back begins anew', () => {
    const recovery = playing();
    recovery.stop();
    assert.equal(recovery.start(5000), 'open');
    assert.equal(recovery.view(5000).signal, 'connecting');
  });

  test('starting twice opens once', () => {
    assert.equal(playing().start(1), 'none');
  });
});

test('any order of events keeps the rules', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    try {
      runRandom(seed);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});

/** A driver that does what it is told: at most one source open, and while awake there is always a next step. */
function runRandom(seed) {
  const random = generator(seed);
  const recovery = new Recovery(random);
  let now = 0;
  let open = false;
  let suspended = new Set();
  const apply = (action) => {
    if (action === 'open') assert.equal(open, false, 'opened twice');
    if (action === 'close') assert.equal(open, true, 'closed twice');
    if (action !== 'none') open = action === 'open';
  };
  apply(recovery.start(now));
  for (let step = 0; step < 300; step += 1) {
    now += Math.floor(random() * 4000);
    const why = random() < 0.5 ? 'hidden' : 'blocked';
    const choices = [
      () => recovery.handlePicture(now),
      () => apply(recovery.handleFailure({ kind: 'network' }, now)),
      () => apply(recovery.handleTimeout(now)),
      () => apply(recovery.hurry(now)),
      () => {
        recovery.suspend(why);
        suspended.add(why);
      },
      () => {
        apply(recovery.resume(why, now));
        suspended.delete(why);
      },
    ];
    choices[Math.floor(random() * choices.length)]();
    assert.equal(open, recovery.phase === 'connecting' || recovery.phase === 'playing');
    const due = recovery.pollTimeout();
    if (suspended.size === 0 || recovery.phase === 'waiting') assert.notEqual(due, null, 'nothing would happen again');
    if (due !== null) assert.ok(due - now <= LIMITS.connectMs, 'too far away');
  }
}

/** Mulberry32. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
