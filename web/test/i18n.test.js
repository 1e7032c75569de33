/** @file Words: the right language, and both say everything. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lengthOfTime, textsFor } from '../i18n.js';

test('portuguese for portuguese and for the unknown, english for the rest', () => {
  for (const language of ['pt', 'pt-BR', 'PT-pt', '', undefined]) assert.equal(textsFor(language).lost, 'Sinal perdido');
  for (const language of ['en-US', 'de', 'es-AR']) assert.equal(textsFor(language).lost, 'Signal lost');
});

test('both languages have the same texts', () => {
  const [pt, en] = [textsFor('pt'), textsFor('en')];
  assert.deepEqual(Object.keys(pt), Object.keys(en));
  assert.deepEqual(Object.keys(pt.states), Object.keys(en.states));
  assert.deepEqual(Object.keys(pt.publisher), Object.keys(en.publisher));
  assert.deepEqual(Object.keys(pt.publisher.troubles), Object.keys(en.publisher.troubles));
});

test('a length of time is said in two units at most', () => {
  const said = { 0: '0 s', 999: '0 s', 59_999: '59 s', 60_000: '1 min 00 s', 3_605_000: '1 h 00 min', 180_000_000: '2 d 2 h' };
  for (const [ms, words] of Object.entries(said)) assert.equal(lengthOfTime(Number(ms)), words);
  assert.equal(lengthOfTime(-5), '0 s');
});
