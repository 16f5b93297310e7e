import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { generatedSource } from '../../cli/generated-source.ts';
import { ClientError } from '../../client/errors.ts';
import { parseEvents } from '../../client/events.ts';
import { choosePlan, defaultPlan, splitIntoParts } from '../../client/plan.ts';
import { createRateLimiter } from '../../client/rate-limiter.ts';
import { createRetrier } from '../../client/retry.ts';
import { parseServer, uploadIdOf, uploadUrlOf } from '../../client/server-address.ts';

describe('how an upload is cut up', () => {
  const MIB = 1024 ** 2;
  test.each([
    [63_999_999, 1, Number.MAX_SAFE_INTEGER],
    [64_000_000, 10, 8 * MIB],
    [1_000_000_000, 10, 8 * MIB],
    [1_000_000_001, 5, 32 * MIB],
    [10_000_000_000, 5, 32 * MIB],
    [10_000_000_001, 2, 64 * MIB],
  ])('%d bytes: %d requests of %d bytes', (size, parallel, chunkSizeBytes) =>
    expect(defaultPlan(size)).toEqual({ parallel, chunkSizeBytes }),
  );

  test('what is asked for counts, one by one; too little to share is not shared', () => {
    expect(choosePlan(64_000_000, { parallel: 3 })).toEqual({ parallel: 3, chunkSizeBytes: 8 * MIB });
    expect(choosePlan(100_000, { parallel: 3, chunkSizeBytes: MIB })).toEqual({
      parallel: 1,
      chunkSizeBytes: MIB,
    });
    expect(choosePlan(0, { parallel: 50 }).parallel).toBe(1);
    for (const parallel of [0, 51, 1.5]) expect(() => choosePlan(1, { parallel })).toThrow(RangeError);
    expect(() => choosePlan(1, { chunkSizeBytes: 1000 })).toThrow(RangeError);
  });

  test('parts adjoin and cover everything', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 40 }), fc.integer({ min: 1, max: 50 }), (size, count) => {
        const parts = splitIntoParts(size, count);
        expect(parts).toHaveLength(count);
        let at = 0;
        for (const { start, end } of parts) {
          expect(start).toBe(at);
          expect(end).toBeGreaterThanOrEqual(start);
          at = end;
        }
        expect(at).toBe(size);
      }),
    );
  });
});

describe('the address of a server', () => {
  test.each([
    ['http://127.0.0.1:1080', undefined, 'http://127.0.0.1:1080', 'http://127.0.0.1:1080/files'],
    ['http://127.0.0.1:1080/files/', undefined, 'http://127.0.0.1:1080', 'http://127.0.0.1:1080/files'],
    [
      'https://a.example/landfall',
      undefined,
      'https://a.example/landfall',
      'https://a.example/landfall/files',
    ],
    ['https://u:p@a.example', undefined, 'https://a.example', 'https://a.example/files'],
    ['https://a.example/x/up/load', '/up/load', 'https://a.example/x', 'https://a.example/x/up/load'],
  ])('%s, %s', (server, basePath, root, files) =>
    expect(parseServer(server, basePath)).toEqual({ root, files }),
  );

  test.each(['', 'a.example', 'ftp://a.example', 'http://a.example/?x', '/files'])('"%s" is none', (server) =>
    expect(() => parseServer(server)).toThrow(ClientError),
  );

  test('ids and addresses of uploads', () => {
    const address = parseServer('http://h/p');
    expect(uploadUrlOf(address, 'abc')).toBe('http://h/p/files/abc');
    expect(uploadUrlOf(address, 'http://x/files/abc')).toBe('http://x/files/abc');
    expect(['abc', 'http://x/files/abc', 'http://x/files/abc/?sig=1'].map(uploadIdOf)).toEqual([
      'abc',
      'abc',
      'abc',
    ]);
  });
});

describe('retries', () => {
  const passing = (retryAfterMs?: number) =>
    new ClientError('refused', 'x', { isRetryable: true, retryAfterMs });

  test('wait longer each time, and from the beginning after progress', async () => {
    const delays: number[] = [];
    const retrier = createRetrier({
      retryForMs: 60_000,
      signal: new AbortController().signal,
      onRetry: ({ delayMs }) => delays.push(delayMs),
    });
    await retrier.failed(passing());
    await retrier.failed(passing());
    retrier.progress();
    await retrier.failed(passing());
    for (const [index, full] of [500, 1000, 500].entries()) {
      expect(delays[index]).toBeGreaterThanOrEqual(full / 2);
      expect(delays[index]).toBeLessThanOrEqual(full);
    }
  });

  test('never come before Retry-After', async () => {
    let delay = 0;
    const stop = new AbortController();
    const retrier = createRetrier({
      retryForMs: 600_000,
      signal: stop.signal,
      onRetry: ({ delayMs }) => {
        delay = delayMs;
        stop.abort();
      },
    });
    await expect(retrier.failed(passing(30_000))).rejects.toMatchObject({ code: 'aborted' });
    expect(delay).toBeGreaterThanOrEqual(30_000);
  });

  test('end with the failure when there is no time left, and at once when it is no passing one', async () => {
    const options = { retryForMs: 0, signal: new AbortController().signal };
    const failure = passing();
    await expect(createRetrier(options).failed(failure)).rejects.toBe(failure);
    const final = new ClientError('rejected', 'x');
    await expect(createRetrier({ ...options, retryForMs: 60_000 }).failed(final)).rejects.toBe(final);
  });
});

describe('events', () => {
  const parse = async (pieces: readonly string[]) => {
    const events = [];
    for await (const event of parseEvents(Readable.from(pieces.map((piece) => Buffer.from(piece)))))
      events.push(event);
    return events;
  };
  const TEXT =
    ': hello\n\nid: 7\nevent: progress\ndata: {"offset":\ndata: 5}\n\nevent: ready\r\ndata: {"a":"ü"}\r\n\r\ndata: no json\n\ndata: {"cut":';
  const EVENTS = [
    { id: '7', type: 'progress', data: { offset: 5 } },
    { id: '7', type: 'ready', data: { a: 'ü' } },
    { id: '7', type: 'message', data: undefined },
  ];

  test('are read whole, whatever pieces they come in', async () => {
    expect(await parse([TEXT])).toEqual(EVENTS);
    const bytes = Buffer.from(TEXT);
    for (let cut = 1; cut < bytes.length; cut++) {
      const events = [];
      const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)];
      for await (const event of parseEvents(Readable.from(pieces))) events.push(event);
      expect(events).toEqual(EVENTS);
    }
  });
});

test('generated bytes are the same wherever reading them begins', async () => {
  const source = generatedSource(100_000, Buffer.alloc(16, 7));
  const whole = Buffer.alloc(100_000);
  expect(await source.read(whole, 0)).toBe(100_000);
  for (const [at, length] of [
    [0, 1],
    [15, 2],
    [16, 16],
    [99_990, 500],
    [54_321, 1_000],
  ] as const) {
    const piece = Buffer.alloc(length);
    const count = await source.read(piece, at);
    expect(piece.subarray(0, count)).toEqual(whole.subarray(at, at + length));
  }
});

test('a rate limit is one for all who share it', async () => {
  const limiter = createRateLimiter(1_000_000);
  const { signal } = new AbortController();
  const startedAtMs = performance.now();
  const take = async () => {
    for (let taken = 0; taken < 200_000; taken += limiter.pieceBytes)
      await limiter.take(limiter.pieceBytes, signal);
  };
  await Promise.all([take(), take(), take(), take()]);
  // 800 kB, less what may be in credit at the start and the last piece, which nobody waits for.
  expect(performance.now() - startedAtMs).toBeGreaterThan(450);
});
