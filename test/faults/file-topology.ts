import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningServer, startServer } from '../support/server.ts';
import type { KillSignal, Topology } from './topology.ts';

/** The server's own files beside the uploads. */
const SERVER_FILES =
  /^(?:uploads|previews|spool|server\.lock(?:-journal)?|(?:catalog|jobs|events)\.db(?:-wal|-shm|-journal)?)$/;

/** The embedded default: one process, files in a directory of their own, SQLite. */
export async function createFileTopology(settings: Record<string, string> = {}): Promise<Topology> {
  const dataDir = await mkdtemp(join(tmpdir(), 'landfall-faults-'));
  const port = await quietPort();
  let server: RunningServer | undefined;
  let isUp = false;
  let output = '';

  async function end(signal: KillSignal): Promise<number | null> {
    isUp = false;
    const ending = server;
    if (ending === undefined) return null;
    const code = await ending.stop(signal);
    if (server === ending) {
      output += ending.output();
      server = undefined;
    }
    return code;
  }

  return {
    processCount: 1,
    hasFailingCalls: false,
    origin: `http://127.0.0.1:${port}`,
    async start(_index, { signal, env } = {}) {
      server = await startServer({
        dataDir,
        port,
        env: { LANDFALL_LOG_LEVEL: 'warn', ...settings, ...env },
        ...(signal === undefined ? {} : { signal }),
      });
      isUp = true;
    },
    kill: (_index, signal) => end(signal),
    isUp: () => isUp && server?.isRunning() === true,
    async loseIndex(random) {
      // Alone, as somebody might delete it by hand, or with all that SQLite keeps beside it.
      const names = random.chance(0.5) ? ['catalog.db'] : ['catalog.db', 'catalog.db-wal', 'catalog.db-shm'];
      for (const name of names) await rm(join(dataDir, name), { force: true });
      return names.join(', ');
    },
    async leftovers(uploadIds) {
      const top = (await readdir(dataDir)).filter((name) => !SERVER_FILES.test(name));
      const uploads = await readdir(join(dataDir, 'uploads'));
      const expected = new Set([...uploadIds].flatMap((id) => [id, `${id}.json`]));
      const missing = [...expected].filter((name) => !uploads.includes(name));
      if (missing.length > 0) throw new Error(`missing in the data directory: ${missing.join(', ')}`);
      return [...top, ...uploads.filter((name) => !expected.has(name)).map((name) => `uploads/${name}`)];
    },
    async storedPreviews(uploadId) {
      const directory = join(dataDir, 'previews', uploadId);
      return existsSync(directory) ? readdir(directory) : [];
    },
    output: () => output + (server?.output() ?? ''),
    async dispose() {
      await end('SIGKILL');
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;

/**
 * A free port below the range that the system gives to outgoing connections: while the server is down, one of our
 * own connections could otherwise get its port, or even connect to itself.
 */
export async function quietPort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
