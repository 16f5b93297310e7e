import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection, RedisEvent } from '../../stores/redis/types.ts';
import { makeCertificate } from '../support/certificate.ts';
import { freePort, type RedisServer, startRedis, until } from '../support/redis.ts';
import { startServer } from '../support/server.ts';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(options?: Parameters<typeof startRedis>[0]): Promise<RedisServer> {
  const server = await startRedis(options);
  cleanUps.push(() => server.stop());
  return server;
}

function connect(url: string): { connection: RedisConnection; events: RedisEvent[] } {
  const events: RedisEvent[] = [];
  const connection = connectRedis(url, { onEvent: (event) => events.push(event) });
  cleanUps.push(() => connection.close());
  return { connection, events };
}

/** A subscription that works: what is published comes in. */
async function expectMessages({ subscriber, commands }: RedisConnection): Promise<void> {
  const messages: string[] = [];
  let isResumed = false;
  const unsubscribe = subscriber.subscribe(
    'channel',
    (message) => messages.push(message),
    () => {
      isResumed = true;
    },
  );
  await until(() => isResumed);
  await commands.send('PUBLISH', 'channel', 'hello');
  await until(() => messages.length === 1);
  expect(messages).toEqual(['hello']);
  unsubscribe();
}

describe('connecting to Redis', { timeout: 30_000 }, () => {
  test('redis:// with a password and a database', async () => {
    const server = await start({ password: 'hunter2' });
    const { connection } = connect(`redis://:hunter2@127.0.0.1:${server.port}/3`);
    await connection.whenReady(5_000);
    await connection.commands.send('SET', 'key', 'value');
    await server.admin.select(3);
    expect(await server.admin.get('key')).toBe('value');
    await expectMessages(connection);
    expect(connection.description).toBe(`redis://127.0.0.1:${server.port}/3`);
    const clients = String(await server.admin.client('LIST'));
    expect(clients).toContain('name=landfall ');
    expect(clients).toContain('name=landfall-subscriber ');
  });

  test('rediss:// checks the certificate', async () => {
    const certificate = await makeCertificate();
    cleanUps.push(certificate.remove);
    const { certFile } = certificate;
    const server = await start({ tls: certificate });
    const trusted = connect(`${server.url}?ca=${certFile}`);
    await trusted.connection.whenReady(5_000);
    await expectMessages(trusted.connection);
    await connect(`${server.url}?ca=${certFile}&servername=redis.test`).connection.whenReady(5_000);
    await connect(`${server.url}?verify=off`).connection.whenReady(5_000);

    const untrusted = connect(server.url);
    await expect(untrusted.connection.whenReady(1_000)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(untrusted.events.map(({ message }) => message).join()).toContain('self-signed certificate');
    const misnamed = connect(`${server.url}?ca=${certFile}&servername=other.test`);
    await expect(misnamed.connection.whenReady(1_000)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(() => connectRedis(`${server.url}?ca=${certFile}.absent`)).toThrow('ENOENT');
  });

  test('a wrong password is told without it', async () => {
    const server = await start({ password: 'hunter2' });
    const { connection, events } = connect(`redis://:swordfish@127.0.0.1:${server.port}`);
    const error = await connection.whenReady(1_000).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'store_unavailable' });
    expect(events.map(({ message }) => message).join()).toContain('WRONGPASS');
    expect(JSON.stringify([error, events])).not.toContain('swordfish');
    expect(connection.isReady()).toBe(false);
  });

  test('nothing there: an error within two seconds, at once later on, and no noise', async () => {
    const { connection, events } = connect(`redis://127.0.0.1:${await freePort()}`);
    const startedAt = performance.now();
    await expect(connection.commands.send('GET', 'key')).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    // Without any wait: before the next timer.
    const again = connection.commands.send('GET', 'key').catch((error: unknown) => error);
    expect(await Promise.race([again, sleep(0, 'later')])).toMatchObject({ retryable: true });
    await sleep(1_500); // several attempts later
    expect(events.filter(({ event }) => event === 'redis_error')).toHaveLength(2); // one per connection
  });

  test('what Redis refuses is store_unavailable with its reason, and without the arguments', async () => {
    const server = await start({ args: ['--maxmemory', '1', '--maxmemory-policy', 'noeviction'] });
    const { connection } = connect(server.url);
    await connection.whenReady(5_000);
    const error = await connection.commands.send('SET', 'key', 'private').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'store_unavailable', cause: expect.any(Error) });
    expect(String(error)).toContain('OOM');
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('private');
    expect(connection.isReady()).toBe(true); // it answers
  });

  test('a command that was in flight when the connection broke is not sent again', async () => {
    const server = await start();
    const { connection } = connect(server.url);
    await connection.whenReady(5_000);
    server.pause();
    const lost = connection.commands.send('INCR', 'counter');
    const outcome = lost.catch((error: { code: string }) => error.code);
    await sleep(100);
    await server.kill();
    expect(await outcome).toBe('store_unavailable');
    await server.restart();
    await connection.whenReady(5_000);
    expect(await connection.commands.send('GET', 'counter')).toBeNull();
  });

  test('subscriptions outlive the server', async () => {
    const server = await start();
    const { connection } = connect(server.url);
    await connection.whenReady(5_000);
    const messages: string[] = [];
    let resumed = 0;
    connection.subscriber.subscribe(
      'channel',
      (message) => messages.push(message),
      () => resumed++,
    );
    await until(() => resumed === 1);
    await server.restart();
    await until(() => resumed === 2);
    await server.admin.publish('channel', 'again');
    await until(() => messages.includes('again'));
    await server.admin.script('FLUSH'); // and scripts outlive their being forgotten
    const script = { name: 'one', lua: 'return 1', sha1: 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db' };
    expect(await connection.commands.run(script, [], [])).toBe(1);
    expect(await connection.commands.run(script, [], [])).toBe(1);
  });

  test('closed: every command fails at once, and the log hears nothing of it', async () => {
    const server = await start();
    const { connection, events } = connect(server.url);
    await until(() => events.length === 2); // one for commands, one for subscriptions
    await connection.close();
    await connection.close();
    await expect(connection.commands.send('PING')).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(connection.isReady()).toBe(false);
    expect(events.map(({ event }) => event)).toEqual(['redis_ready', 'redis_ready']);
    await until(async () => !String(await server.admin.client('LIST')).includes('name=landfall'));
  });
});

test('a Redis that forgets when it is full is told of in the log, and nowhere else', async () => {
  const redis = await start({ args: ['--maxmemory-policy', 'volatile-lru'] });
  const server = await startServer({ env: { LANDFALL_REDIS_URL: redis.url, LANDFALL_JOB_CONCURRENCY: '1' } });
  cleanUps.push(() => server.stop());
  await until(() => server.output().includes('redis_evicts'));
  // A worker that has begun to wait for jobs has looked at Redis by then.
  await until(async () => String(await redis.admin.client('LIST')).includes('cmd=bzpopmin'));
  const told = server
    .output()
    .split('\n')
    .filter((line) => /maxmemory|eviction/i.test(line));
  expect(told).toHaveLength(1);
  expect(JSON.parse(told[0] as string)).toMatchObject({
    level: 40,
    msg: 'redis_evicts',
    reason: expect.stringContaining('maxmemory-policy is volatile-lru'),
  });
});
