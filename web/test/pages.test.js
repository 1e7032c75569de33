/** @file Pages: they hold to the content policy, and name every module they will need. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const WEB = new URL('../', import.meta.url);
const PAGES = ['index.html', 'player/hls.html', 'player/webrtc.html', 'publisher/publish.html'];

/** Every module that one imports, itself included. */
async function modulesOf(path, found = new Set()) {
  if (found.has(path)) return found;
  found.add(path);
  const source = await readFile(new URL(path.slice('/_/'.length), WEB), 'utf8');
  for (const [, target] of source.matchAll(/^import .* from '(\.[^']+)';$/gm)) {
    await modulesOf(new URL(target, `http://x${path}`).pathname, found);
  }
  return found;
}

for (const page of PAGES) {
  test(`${page} has no script, style or handler of its own`, async () => {
    const html = await readFile(new URL(page, WEB), 'utf8');
    assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|javascript:/i);
    for (const [, rest] of html.matchAll(/<script([^>]*)>/g)) assert.match(rest, /src="\/_\//);
  });

  test(`${page} preloads its modules, all of them and no other`, async () => {
    const html = await readFile(new URL(page, WEB), 'utf8');
    const [, entry] = /<script type="module" src="([^"]+)"/.exec(html);
    const preloaded = [...html.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, href]) => href);
    assert.deepEqual([...preloaded, entry].sort(), [...(await modulesOf(entry))].sort());
  });

  test(`${page} names only files that are there`, async () => {
    const html = await readFile(new URL(page, WEB), 'utf8');
    for (const [, path] of html.matchAll(/(?:src|href)="\/_\/([^"]+)"/g)) await readFile(new URL(path, WEB));
  });
}
