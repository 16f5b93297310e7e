import { join } from 'node:path';

/** A server to measure: how its process is started, and what it is called in the table. */
export interface Variant {
  name: string;
  /** Program and arguments for a port and an empty directory of its own. */
  command(port: number, dir: string): { file: string; args: string[]; env: Record<string, string> };
  /** A Node process with the preload: its heap is filled, and it collects garbage when asked to. */
  isPreloaded: boolean;
  /** Computes a digest while it receives: only workloads that receive a lot say anything about that. */
  isHashing?: boolean;
}

const ROOT = join(import.meta.dirname, '..');
const PRELOAD = join(import.meta.dirname, 'preload.ts');
const NODE_FLAGS = ['--expose-gc', '--import', PRELOAD];

export const RAW = 'raw';
export const STOCK = 'stock';
export const LANDFALL = 'landfall';
export const LANDFALL_SHA256 = 'landfall+sha256';

export const VARIANTS: readonly Variant[] = [
  reference(RAW, 'bench/servers/raw.ts'),
  reference(STOCK, 'bench/servers/stock.ts'),
  landfall(LANDFALL, {}),
  { ...landfall(LANDFALL_SHA256, { LANDFALL_VERIFY: 'always' }), isHashing: true },
];

/** A server of `servers/`: told by its environment where to listen and what else it needs. */
export function reference(name: string, program: string, settings: Record<string, string> = {}): Variant {
  return {
    name,
    isPreloaded: true,
    command: (port, dir) => ({
      file: process.execPath,
      args: [...NODE_FLAGS, join(ROOT, program)],
      env: { BENCH_PORT: String(port), BENCH_DIR: dir, ...settings },
    }),
  };
}

/** The real program with its defaults, its log included. */
export function landfall(name: string, env: Record<string, string>): Variant {
  return {
    name,
    isPreloaded: true,
    command: (port, dir) => ({
      file: process.execPath,
      args: [...NODE_FLAGS, join(ROOT, 'server/main.ts')],
      env: { LANDFALL_PORT: String(port), LANDFALL_DATA_DIR: dir, ...env },
    }),
  };
}

/**
 * Any other tus server, from `name=COMMAND`: `{port}` and `{dir}` are filled in, words are split at blanks. It has to
 * serve tus at `/files/`.
 *
 * @throws Error when the text has another form.
 */
export function peerVariant(text: string): Variant {
  const [, name, command] = /^([\w.+-]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || command === undefined || !command.includes('{port}')) {
    throw new Error(`--peer ${text}: expected name=COMMAND with {port} and {dir} in the command`);
  }
  return {
    name,
    isPreloaded: false,
    command(port, dir) {
      const words = command
        .split(/\s+/)
        .map((word) => word.replaceAll('{port}', String(port)).replaceAll('{dir}', dir));
      const [file = '', ...args] = words;
      return { file, args, env: {} };
    },
  };
}
