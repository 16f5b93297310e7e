import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { Webhook } from 'standardwebhooks';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  isPublicAddress,
  lookupPublic,
  type ResolveAddresses,
} from '../../server/webhooks/public-address.ts';
import { createWebhooks, type WebhooksOptions } from '../../server/webhooks/webhooks.ts';
import { newUploadRecord, type UploadRecord } from '../../stores/catalog/types.ts';
import { openSqliteQueue } from '../../stores/queue/sqlite.ts';
import { type ReceivedRequest, startReceiver } from '../support/receiver.ts';

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const RECORD: UploadRecord = {
  ...newUploadRecord({ id: 'U'.repeat(32), size: 5, rawMetadata: null, createdAtMs: 1_700_000_000_000 }),
  state: 'ready',
  updatedAtMs: 1_700_000_009_000,
  receivedAtMs: 1_700_000_004_000,
};

interface Setup extends Partial<WebhooksOptions> {
  records?: UploadRecord[];
}

async function setUp(url: string, { records = [RECORD], ...options }: Setup = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-webhooks-'));
  const queue = openSqliteQueue({ path: join(directory, 'jobs.db') });
  const lines: string[] = [];
  const webhooks = createWebhooks({
    url,
    secret: SECRET,
    events: ['ready', 'received'],
    allowPrivate: true,
    queue,
    catalog: { get: async (id) => records.find((record) => record.id === id) },
    present: async ({ id, state }) => ({ id, state }),
    log: pino(
      { level: 'warn', serializers: { error: pino.stdSerializers.err } },
      { write: (line) => lines.push(line) },
    ),
    retryDelaysMs: [20, 20, 20],
    ...options,
  });
  const worker = webhooks.work({ leaseMs: 30_000 });
  onTestFinished(async () => {
    await worker.close();
    await queue.close();
    await rm(directory, { recursive: true, force: true });
  });
  const settled = async () => {
    for (;;) {
      const { waiting, delayed, active, givenUp } = await queue.counts('webhook');
      if (waiting + delayed + active === 0) return { givenUp };
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return { webhooks, queue, settled, log: () => lines.join('') };
}

/** Throws unless the library takes it. */
function verify({ headers, body }: ReceivedRequest): unknown {
  return new Webhook(SECRET).verify(body, headers as Record<string, string>);
}

describe('a delivery', () => {
  test('is signed, and shows the upload', async () => {
    const receiver = await startReceiver();
    const { webhooks, settled } = await setUp(receiver.url);
    await webhooks.announce(RECORD, 'ready');
    expect(await settled()).toEqual({ givenUp: 0 });

    const [request] = receiver.received;
    expect(verify(request!)).toEqual({
      type: 'upload.ready',
      timestamp: '2023-11-14T22:13:29.000Z',
      data: { id: RECORD.id, state: 'ready' },
    });
    expect(request).toMatchObject({ path: '/hooks', headers: { 'content-type': 'application/json' } });
    expect(request!.headers['webhook-id']).toMatch(/^msg_[0-9a-f]{32}$/);
    expect(() => verify({ ...request!, body: request!.body.replace('ready', 'steady') })).toThrow();
  });

  test('has an id of its own for every upload and event, and the same at every announcement', async () => {
    const receiver = await startReceiver();
    const other = { ...RECORD, id: 'V'.repeat(32) };
    const { webhooks, settled } = await setUp(receiver.url, { records: [RECORD, other] });
    for (const [record, event] of [
      [RECORD, 'ready'],
      [RECORD, 'ready'],
      [RECORD, 'received'],
      [other, 'ready'],
    ] as const) {
      await webhooks.announce(record, event);
      await settled();
    }
    const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
    expect(ids[0]).toBe(ids[1]);
    expect(new Set(ids).size).toBe(3);
    expect(verify(receiver.received[2]!)).toMatchObject({
      type: 'upload.received',
      timestamp: '2023-11-14T22:13:24.000Z',
    });
  });

  test('that is announced twice while it waits is made once', async () => {
    const receiver = await startReceiver((_request, index) => (index === 0 ? { status: 500 } : undefined));
    const { webhooks, settled } = await setUp(receiver.url, { retryDelaysMs: [200] });
    await webhooks.announce(RECORD, 'ready');
    await receiver.whenReceived(1);
    await webhooks.announce(RECORD, 'received');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await webhooks.announce(RECORD, 'ready');
    await settled();
    expect(receiver.received).toHaveLength(3);
  });

  test('of what nobody asked for is not made', async () => {
    const receiver = await startReceiver();
    const { webhooks, queue } = await setUp(receiver.url);
    expect(webhooks.wants('ready')).toBe(true);
    expect(webhooks.wants('rejected')).toBe(false);
    await webhooks.announce(RECORD, 'rejected');
    expect(await queue.counts('webhook')).toMatchObject({ waiting: 0, active: 0 });
  });

  test('of an upload whose record is gone has its id', async () => {
    const receiver = await startReceiver();
    const { webhooks, settled } = await setUp(receiver.url, { records: [] });
    await webhooks.announce(RECORD, 'ready');
    await settled();
    expect(verify(receiver.received[0]!)).toMatchObject({ data: { id: RECORD.id } });
  });
});

describe('a failure', () => {
  test.each([
    ['a 500', { status: 500 }],
    ['a 404', { status: 404 }],
    ['a 302, which is not followed,', { status: 302, headers: { location: '/elsewhere' } }],
    ['a 304', { status: 304 }],
    ['a reset', { reset: true }],
  ])('by %s is made up for with the same id', async (_what, answer) => {
    const receiver = await startReceiver((_request, index) => (index < 2 ? answer : undefined));
    const { webhooks, settled, log } = await setUp(receiver.url);
    await webhooks.announce(RECORD, 'ready');
    expect(await settled()).toEqual({ givenUp: 0 });
    expect(receiver.received.map(({ path }) => path)).toEqual(['/hooks', '/hooks', '/hooks']);
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    for (const request of receiver.received) verify(request);
    expect(log()).toContain('webhook not delivered');
  });

  test('by silence is made up for', async () => {
    const receiver = await startReceiver((_request, index) => (index === 0 ? { delayMs: 2000 } : undefined));
    const { webhooks, settled, log } = await setUp(receiver.url, { timeoutMs: 100 });
    await webhooks.announce(RECORD, 'ready');
    await settled();
    expect(receiver.received).toHaveLength(2);
    expect(log()).toContain('no answer within 100 ms');
  });

  test('that lasts is given up, and said in the log', async () => {
    const receiver = await startReceiver(() => ({ status: 503 }));
    const { webhooks, settled, log } = await setUp(receiver.url);
    await webhooks.announce(RECORD, 'ready');
    expect(await settled()).toEqual({ givenUp: 1 });
    expect(receiver.received).toHaveLength(4);
    expect(log()).toContain('webhook given up');
  });

  test('with Retry-After is tried again no sooner', async () => {
    const receiver = await startReceiver((_request, index) =>
      index === 0 ? { status: 429, headers: { 'retry-after': '1' } } : undefined,
    );
    const { webhooks, settled } = await setUp(receiver.url, { retryDelaysMs: [1] });
    await webhooks.announce(RECORD, 'ready');
    await receiver.whenReceived(1);
    const startedAt = performance.now();
    await settled();
    expect(receiver.received).toHaveLength(2);
    expect(performance.now() - startedAt).toBeGreaterThan(900);
  });

  test('by 410 Gone is the last request of all', async () => {
    const receiver = await startReceiver(() => ({ status: 410 }));
    const { webhooks, settled, log } = await setUp(receiver.url);
    await webhooks.announce(RECORD, 'ready');
    expect(await settled()).toEqual({ givenUp: 1 });
    await webhooks.announce(RECORD, 'received');
    expect(await settled()).toEqual({ givenUp: 2 });
    expect(receiver.received).toHaveLength(1);
    expect(log()).toContain('410 Gone');
  });
});

describe('addresses that are not public', () => {
  test.each(['127.0.0.1', '127.1', '0x7f000001', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0'])(
    'are not called: %s',
    async (host) => {
      const receiver = await startReceiver();
      const { webhooks, settled, log } = await setUp(`http://${host}:${receiver.port}/`, {
        allowPrivate: false,
        retryDelaysMs: [1],
      });
      await webhooks.announce(RECORD, 'ready');
      expect(await settled()).toEqual({ givenUp: 1 });
      expect(receiver.received).toEqual([]);
      expect(log()).toContain('is no public address');
    },
  );

  test('are not called by a name that changes its mind', async () => {
    const receiver = await startReceiver();
    let lookups = 0;
    const resolve: ResolveAddresses = (_hostname, _options, callback) => {
      lookups++;
      const addresses =
        lookups === 1
          ? [{ address: '10.0.0.1', family: 4 }]
          : [
              { address: '127.0.0.1', family: 4 },
              { address: '::1', family: 6 },
            ];
      callback(null, addresses);
    };
    const { webhooks, settled } = await setUp(`http://rebinding.example:${receiver.port}/`, {
      allowPrivate: false,
      resolve,
      retryDelaysMs: [1, 1],
    });
    await webhooks.announce(RECORD, 'ready');
    expect(await settled()).toEqual({ givenUp: 1 });
    // Asked anew for every connection: what is checked is what is connected to.
    expect(lookups).toBe(3);
    expect(receiver.received).toEqual([]);
  });

  test('are left out of those that a name has', () => {
    const addresses = [
      { address: '192.168.0.1', family: 4 },
      { address: '1.1.1.1', family: 4 },
      { address: '::1', family: 6 },
      { address: '2606:4700:4700::1111', family: 6 },
    ];
    const lookup = lookupPublic((_hostname, _options, callback) => callback(null, addresses));
    const answers: unknown[] = [];
    lookup('mixed.example', { all: true }, (...answer) => answers.push(answer));
    lookup('mixed.example', {}, (...answer) => answers.push(answer));
    expect(answers).toEqual([
      [null, [addresses[1], addresses[3]]],
      [null, '1.1.1.1', 4],
    ]);
  });

  test('are told from public ones', () => {
    const refused = [
      ...['10.1.2.3', '172.16.0.1', '192.168.1.1', '127.0.0.1', '169.254.169.254', '100.100.100.200'],
      ...['0.0.0.0', '255.255.255.255', '224.0.0.1', '192.0.0.192', '198.18.0.1', '168.63.129.16'],
      ...['::', '::1', 'fe80::1', 'fd00:ec2::254', 'ff02::1', '::ffff:10.0.0.1', '64:ff9b::a00:1'],
      ...['2002:a00:1::', '2001:db8::1', 'not an address', ''],
    ];
    expect(refused.filter(isPublicAddress)).toEqual([]);
    const allowed = [
      '93.184.216.34',
      '1.1.1.1',
      '2606:4700:4700::1111',
      '::ffff:1.1.1.1',
      '64:ff9b::101:101',
    ];
    expect(allowed.filter(isPublicAddress)).toEqual(allowed);
  });
});
