import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RedisScript } from './types.ts';

/**
 * Reads `<name>.lua`; call it where a factory starts, with `new URL('./name.lua', import.meta.url)`. `prelude`: Lua
 * that goes before it (scripts on a server cannot call each other).
 */
export function loadScript(url: URL, prelude = ''): RedisScript {
  const lua = `${prelude}${readFileSync(url, 'utf8')}`;
  return {
    name: basename(fileURLToPath(url), '.lua'),
    lua,
    sha1: createHash('sha1').update(lua).digest('hex'),
  };
}
