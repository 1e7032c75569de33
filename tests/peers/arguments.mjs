// Arguments: `--name value` pairs, each with a default or required, and the packages that
// tests/setup/install.sh put aside.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

/** The root of the checkout. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

const modules = process.env.GTV_NODE_MODULES ?? path.join(root, '.cache/node/node_modules');
const require = createRequire(path.join(modules, 'x.js'));

/** Imports an installed package by name. */
export async function installed(name) {
  const module = await import(require.resolve(name));
  return module.default ?? module;
}

/**
 * @param {Record<string, string | undefined>} defaults undefined: required
 * @returns {Record<string, string>}
 */
export function read(defaults) {
  const values = { ...defaults };
  for (let at = 2; at < process.argv.length; at += 2) {
    const name = process.argv[at].replace(/^--/, '');
    if (!(name in defaults)) throw new Error(`unknown argument ${process.argv[at]}`);
    values[name] = process.argv[at + 1];
  }
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) throw new Error(`--${name} is required`);
  }
  return values;
}
