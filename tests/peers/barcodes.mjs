// Barcodes: decodes pictures with ffmpeg and says which frame of a clip each shows (fixtures/barcode.js).
//
//   node barcodes.mjs --files '["a.jpg", ...]'
//
// Prints {"pictures": [{"width", "height", "frame"}]}, frame null where no bar code can be read.
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { read, root } from './arguments.mjs';

const { files } = read({ files: undefined });
const source = await readFile(path.join(root, 'fixtures/barcode.js'), 'utf8');
const { readBarcode } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const run = (program, ...args) => execFileSync(program, ['-v', 'error', ...args], { maxBuffer: 64 << 20 });
const pictures = JSON.parse(files).map((file) => {
  const size = run('ffprobe', '-show_entries', 'stream=width,height', '-of', 'csv=p=0', file);
  const [width, height] = size.toString().trim().split(',').map(Number);
  const data = run('ffmpeg', '-i', file, '-f', 'rawvideo', '-pix_fmt', 'rgba', '-');
  return { width, height, frame: readBarcode({ width, height, data }) };
});
console.log(JSON.stringify({ pictures }));
