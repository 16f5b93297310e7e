import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRoundRobinProxy } from '../faults/round-robin-proxy.ts';
import { freePort, type RedisServer } from './redis.ts';
import { s3Environment } from './s3-environment.ts';
import { type RunningServer, startServer } from './server.ts';
import type { S3Service } from './services.ts';

/** Several processes of the real program over one bucket and one Redis. */
export interface Fleet {
  servers: RunningServer[];
  /** What its objects' keys start with. */
  prefix: string;
  /** Where uploads are created, through a balancer without stickiness. */
  filesUrl: string;
  /** The same upload, asked of one process. */
  urlAt(index: number, uploadUrl: string): string;
  /** Ends one process and starts it again on its port. */
  restart(index: number, signal: NodeJS.Signals): Promise<void>;
  /** All that every process wrote, those that ended included. */
  output(): string;
  close(): Promise<void>;
}

export interface FleetOptions {
  s3: S3Service;
  redis: Pick<RedisServer, 'url'>;
  processes?: number;
  env?: Record<string, string>;
  /** LANDFALL_ROLE of each process; requests go to those that are no workers. Default: `all`. */
  roles?: readonly ('all' | 'api' | 'worker')[];
}

export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { s3, redis, env = {}, roles } = options;
  const processes = roles?.length ?? options.processes ?? 2;
  const roleOf = (index: number) => roles?.[index] ?? 'all';
  const name = `fleet-${randomBytes(6).toString('hex')}`;
  // Each has one of its own in it, as if they ran on several machines.
  const dataDir = await mkdtemp(join(tmpdir(), 'landfall-fleet-'));
  const ports = await Promise.all(Array.from({ length: processes }, () => freePort()));
  const settings = { ...fleetSettings(s3, redis, name), ...env };
  const start = (port: number, index: number) =>
    startServer({
      dataDir: join(dataDir, String(index)),
      port,
      env: { ...settings, LANDFALL_ROLE: roleOf(index) },
    });
  const servers = await Promise.all(ports.map(start));
  const balancer = await startRoundRobinProxy(ports.filter((_port, index) => roleOf(index) !== 'worker'));
  let output = '';
  return {
    servers,
    prefix: `${name}/`,
    filesUrl: `http://127.0.0.1:${balancer.port}/files`,
    urlAt: (index, uploadUrl) => new URL(new URL(uploadUrl).pathname, at(servers, index).origin).href,
    async restart(index, signal) {
      const ended = at(servers, index);
      await ended.stop(signal);
      output += ended.output();
      servers[index] = await start(at(ports, index), index);
    },
    output: () => output + servers.map((server) => server.output()).join(''),
    async close() {
      await Promise.all(servers.map((server) => server.stop('SIGKILL')));
      await balancer.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** The environment of a process over this bucket and Redis, in a corner of both that is called `name`. */
export function fleetSettings(
  s3: S3Service,
  redis: Pick<RedisServer, 'url'>,
  name: string,
): Record<string, string> {
  return {
    ...s3Environment(s3, { prefix: `${name}/` }),
    LANDFALL_REDIS_URL: redis.url,
    LANDFALL_REDIS_PREFIX: name,
    LANDFALL_LOCK_TTL: '2s',
    LANDFALL_LOG_LEVEL: 'info',
  };
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error(`there is no process ${index}`);
  return found;
}
