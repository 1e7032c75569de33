// Playlist validator: reads every playlist of a folder with npm hls-parser in strict mode.
//
//   node hls_validate.mjs --dir FOLDER      (files *.m3u8)
//
// Prints {"files": N, "errors": [{"file", "error"}]}.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { installed, read } from './arguments.mjs';

const { dir } = read({ dir: undefined });
const HLS = await installed('hls-parser');
HLS.setOptions({ strictMode: true, silent: true });

const files = (await readdir(dir)).filter((name) => name.endsWith('.m3u8')).sort();
const errors = [];
for (const file of files) {
  try {
    HLS.parse(await readFile(path.join(dir, file), 'utf8'));
  } catch (error) {
    errors.push({ file, error: String(error.message ?? error) });
  }
}
console.log(JSON.stringify({ files: files.length, errors }));
