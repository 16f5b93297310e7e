import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** A private S3 server: Debian's Ceph on loopback, thrown away when stopped. */
export interface CephServer {
  endpoint: string;
  accessKeyId: string;
  secretAccessKey: string;
  bucket: string;
  stop(): Promise<void>;
}

export interface CephOptions {
  bucket?: string;
  /** Everything is kept in memory by default; 'bluestore' keeps it in a file, for more than about 2 GB. */
  store?: 'memstore' | 'bluestore';
  sizeBytes?: number;
}

const SCRIPT = fileURLToPath(new URL('ceph-mini.sh', import.meta.url));
const START_ATTEMPTS = 3;

/** Starts one on random ports; takes about 2 s. Rejects with what to install when Ceph is not there. */
export async function startCeph(options: CephOptions = {}): Promise<CephServer> {
  const bucket = options.bucket ?? 'landfall-test';
  const directory = await mkdtemp(path.join(tmpdir(), 'landfall-ceph-'));
  const accessKeyId = 'landfall-test-key';
  const secretAccessKey = 'landfall-test-secret';
  const env = {
    ...process.env,
    ...(options.store === undefined ? {} : { STORE: options.store }),
    ...(options.sizeBytes === undefined ? {} : { SIZE: String(options.sizeBytes) }),
  };
  for (let attempt = 1; ; attempt += 1) {
    const [port, monitorPort] = await freePorts();
    const started = await runScript(
      ['start', directory, String(port), accessKeyId, secretAccessKey, bucket],
      { ...env, MONPORT: String(monitorPort) },
    );
    if (started.code === 0) {
      return {
        endpoint: `http://127.0.0.1:${port}`,
        accessKeyId,
        secretAccessKey,
        bucket,
        async stop() {
          await runScript(['stop', directory], env);
        },
      };
    }
    const log = await readFile(path.join(directory, 'log', 'osd.out'), 'utf8').catch(() => '');
    await runScript(['stop', directory], env);
    // A port that was free a moment ago may have been taken.
    if (attempt < START_ATTEMPTS) continue;
    await rm(directory, { recursive: true, force: true });
    throw new Error(
      `Ceph did not start (${started.output.trim()} ${log.trim()}). It needs: ` +
        'apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw ceph-common curl',
    );
  }
}

function runScript(args: string[], env: NodeJS.ProcessEnv): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    // Its own process group and no inherited pipes: the daemons outlive the script.
    const child = spawn('bash', [SCRIPT, ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('error', (error) => resolve({ code: 1, output: error.message }));
    child.on('exit', (code) => {
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ code, output });
    });
  });
}

async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()];
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.on('error', reject);
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve(typeof address === 'object' && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports as [number, number];
}
