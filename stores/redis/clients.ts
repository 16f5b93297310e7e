import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisTarget } from './redis-url.ts';

/*
 * How ioredis is set up, and why it is not left at its defaults, which are made for programs that would rather wait
 * than fail: commands queue up without bound while Redis is away and are sent when it is back. A lock that is taken
 * minutes after its request has gone is worse than none. So: no offline queue, nothing is sent twice, every command
 * has a time limit, a socket without an answer is dropped; and the connection itself is tried again for ever.
 */

/** Longest wait for an answer. Redis answers in well under a millisecond; a fork or a slow disk takes longer. */
export const COMMAND_TIMEOUT_MS = 1_250;
const CONNECT_TIMEOUT_MS = 2_000;
/** An open socket that owes us an answer for so long is dead, or might as well be. */
const SOCKET_TIMEOUT_MS = 3_000;

/** 50 ms, doubling, at most 1 s, and up to 20 % less so that a fleet does not come back in step. */
export function reconnectDelayMs(attempt: number, random: () => number = Math.random): number {
  return Math.round(Math.min(50 * 2 ** Math.min(attempt - 1, 10), 1_000) * (1 - 0.2 * random()));
}

/** A client that sends commands. It has an error listener to be added at once, and starts to connect by itself. */
export function createCommandClient(target: RedisTarget, name: string): Redis | Cluster {
  return target.kind === 'cluster' ? createCluster(target, name) : createSingle(target, name);
}

/**
 * A client of its own for subscriptions. In a Cluster every node passes on every message, so one connection to any of
 * them does; it moves on to the next node when one fails. (The subscriber that a Cluster client brings along tries
 * dead nodes over and over without a pause, and does not notice silent ones.)
 */
export function createSubscriberClient(target: RedisTarget, name: string, client: Redis | Cluster): Redis {
  const subscriber = createSingle(target, `${name}-subscriber`);
  if (!(client instanceof Cluster)) return subscriber;
  let attempts = 0;
  subscriber.on('close', () => {
    // Also the nodes that the Cluster has told us about: all those of the URL may have been replaced.
    const known = client.nodes().map(({ options: { host, port } }) => ({ host, port }));
    const next = [...target.hosts, ...known][++attempts % (target.hosts.length + known.length)];
    if (next !== undefined) Object.assign(subscriber.options, next);
  });
  return subscriber;
}

/**
 * A client for whoever would rather wait than fail: BullMQ's workers, which count on commands being kept and sent
 * again while Redis is away. `longestBlockMs`: of the commands that block; 0: none of them does.
 */
export function createPatientClient(
  target: RedisTarget,
  name: string,
  longestBlockMs: number,
): Redis | Cluster {
  const patience = {
    commandTimeout: undefined,
    socketTimeout: longestBlockMs + SOCKET_TIMEOUT_MS,
    maxRetriesPerRequest: null,
    autoResendUnfulfilledCommands: true,
    // After a failover: reconnect to the new master, and send it again there.
    reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? 2 : false),
  } satisfies Patience;
  return target.kind === 'cluster'
    ? createCluster(target, name, patience)
    : createSingle(target, name, patience);
}

type Patience = Pick<
  RedisOptions,
  | 'commandTimeout'
  | 'socketTimeout'
  | 'maxRetriesPerRequest'
  | 'autoResendUnfulfilledCommands'
  | 'reconnectOnError'
>;

function createSingle(target: RedisTarget, name: string, patience?: Patience): Redis {
  const tls = tlsOptions(target);
  const where: RedisOptions & { replyMapping?: 'legacy' } =
    target.kind === 'sentinel'
      ? {
          sentinels: target.hosts,
          name: target.masterName,
          sentinelUsername: target.sentinelUsername,
          sentinelPassword: target.sentinelPassword,
          sentinelRetryStrategy: (attempt) => reconnectDelayMs(attempt),
          sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
          ...(tls === undefined ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
        }
      : { ...target.hosts[0] };
  return new Redis({
    ...commonOptions(target, name),
    ...where,
    db: target.db,
    replyMapping: 'legacy',
    enableOfflineQueue: patience !== undefined,
    retryStrategy: (attempt) => reconnectDelayMs(attempt),
    // Our own code subscribes again, and tells the waiters that they may have missed something.
    autoResubscribe: false,
    ...patience,
  });
}

function createCluster(target: RedisTarget, name: string, patience?: Patience): Cluster {
  return new Cluster(target.hosts, {
    redisOptions: { ...commonOptions(target, name), ...patience },
    enableOfflineQueue: patience !== undefined,
    clusterRetryStrategy: (attempt) => reconnectDelayMs(attempt),
    slotsRefreshTimeout: COMMAND_TIMEOUT_MS,
    slotsRefreshInterval: 15_000,
    // Certificates are made out to names: with TLS, names are not resolved to addresses before connecting.
    ...(target.isTls ? { dnsLookup: (address, callback) => callback(null, address) } : {}),
  });
}

function commonOptions(target: RedisTarget, name: string) {
  const tls = tlsOptions(target);
  return {
    username: target.username,
    password: target.password,
    connectionName: name,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    // What was in flight when the connection broke is rejected at once, and never sent a second time.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    maxLoadingRetryTime: 500,
    // After a failover we may still be connected to the old master, which is a replica now.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    ...(tls === undefined ? {} : { tls }),
  } satisfies RedisOptions;
}

function tlsOptions(target: RedisTarget): ConnectionOptions | undefined {
  if (!target.isTls) return undefined;
  const { ca, cert, key, servername, isVerified } = target.tls;
  return {
    ...(ca === undefined ? {} : { ca: readFileSync(ca) }),
    ...(cert === undefined ? {} : { cert: readFileSync(cert) }),
    ...(key === undefined ? {} : { key: readFileSync(key) }),
    ...(servername === undefined ? {} : { servername }),
    rejectUnauthorized: isVerified,
  };
}
