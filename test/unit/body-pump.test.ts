import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ChunkSink, type PumpOptions, pumpBody } from '../../stores/body-pump.ts';
import { isStoreError } from '../../stores/errors.ts';

/** A sink that says "enough" after every chunk until `drain` is called. */
class SlowSink implements ChunkSink {
  onDrain: (() => void) | undefined;
  onFailure: ((error: unknown) => void) | undefined;
  readonly chunks: string[] = [];
  isSlow: boolean;

  constructor(isSlow = false) {
    this.isSlow = isSlow;
  }

  write(chunk: Buffer): boolean {
    this.chunks.push(chunk.toString());
    return !this.isSlow;
  }

  get text(): string {
    return this.chunks.join('');
  }
}

function optionsWith(options: Partial<PumpOptions> = {}): PumpOptions {
  return {
    limit: Number.MAX_SAFE_INTEGER,
    signal: new AbortController().signal,
    lock: { lost: new AbortController().signal },
    idleTimeoutMs: 0,
    ...options,
  };
}

/** Lets streams do what they have put off. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe('the ends of a body', () => {
  it('takes all of it in order, and says so', async () => {
    const body = new PassThrough();
    const sink = new SlowSink();
    const progress: number[] = [];
    const seen: string[] = [];
    const pumped = pumpBody(
      body,
      sink,
      optionsWith({
        onProgress: (taken) => progress.push(taken),
        onChunk: (chunk) => seen.push(chunk.toString()),
      }),
    );
    body.write('one ');
    body.write('two ');
    body.end('three');
    expect(await pumped).toEqual({ end: 'end', taken: 13 });
    expect(sink.text).toBe('one two three');
    expect(seen.join('')).toBe('one two three');
    expect(progress.at(-1)).toBe(13);
  });

  it('keeps what came before the client went away', async () => {
    const body = new PassThrough();
    const sink = new SlowSink();
    const pumped = pumpBody(body, sink, optionsWith());
    body.write('kept');
    await settle();
    body.destroy(new Error('aborted'));
    expect(await pumped).toEqual({ end: 'cut', taken: 4 });
    expect(sink.text).toBe('kept');
  });

  it('ends where it is released, pauses the body, and leaves no listener but the one for errors', async () => {
    const body = new PassThrough();
    const sink = new SlowSink();
    const release = new AbortController();
    const pumped = pumpBody(body, sink, optionsWith({ signal: release.signal }));
    body.write('kept');
    await settle();
    release.abort();
    expect(await pumped).toEqual({ end: 'released', taken: 4 });
    expect(body.isPaused()).toBe(true);
    expect(body.listenerCount('data')).toBe(0);
    expect(body.listenerCount('error')).toBeGreaterThan(0);
    body.write('not taken');
    await settle();
    expect(sink.text).toBe('kept');
    expect(sink.onDrain).toBeUndefined();
  });

  it('drops the chunk that crosses the limit, and nothing before it', async () => {
    const body = new PassThrough();
    const sink = new SlowSink();
    const pumped = pumpBody(body, sink, optionsWith({ limit: 6 }));
    body.write('12345');
    await settle();
    body.write('67');
    expect(await pumped).toEqual({ end: 'limit', taken: 5 });
    expect(sink.text).toBe('12345');
  });

  it('rejects with lock_lost when the lock is lost, and with the failure of the sink', async () => {
    const lost = new AbortController();
    const pumped = pumpBody(new PassThrough(), new SlowSink(), optionsWith({ lock: { lost: lost.signal } }));
    lost.abort();
    await expect(pumped).rejects.toSatisfy((error) => isStoreError(error, 'lock_lost'));

    const sink = new SlowSink();
    const failing = pumpBody(new PassThrough(), sink, optionsWith());
    const failure = new Error('disk on fire');
    sink.onFailure?.(failure);
    await expect(failing).rejects.toBe(failure);
  });

  it('knows a body that was over before it looked', async () => {
    const ended = new PassThrough();
    ended.end();
    ended.resume();
    await settle();
    expect(await pumpBody(ended, new SlowSink(), optionsWith())).toEqual({ end: 'end', taken: 0 });

    const cut = new PassThrough();
    cut.destroy();
    await settle();
    expect(await pumpBody(cut, new SlowSink(), optionsWith())).toEqual({ end: 'cut', taken: 0 });
  });
});

describe('bytes that reached the process are kept, although the sink was behind', () => {
  it('when it is released while the sink holds the body back', async () => {
    const body = new PassThrough();
    const sink = new SlowSink(true);
    const release = new AbortController();
    const pumped = pumpBody(body, sink, optionsWith({ signal: release.signal }));
    body.write('first ');
    await settle();
    body.write('second ');
    body.write('third');
    await settle();
    expect(sink.text).toBe('first ');
    release.abort();
    expect(await pumped).toEqual({ end: 'released', taken: 18 });
    expect(sink.text).toBe('first second third');
  });

  it('when it was asked to release before it began', async () => {
    const body = new PassThrough();
    body.write('already here');
    const sink = new SlowSink();
    const result = await pumpBody(body, sink, optionsWith({ signal: AbortSignal.abort() }));
    expect(result).toEqual({ end: 'released', taken: 12 });
    expect(sink.text).toBe('already here');
  });

  it('when the client goes away while the sink holds the body back', async () => {
    const body = new PassThrough();
    const sink = new SlowSink(true);
    const pumped = pumpBody(body, sink, optionsWith());
    body.write('first ');
    await settle();
    body.write('second');
    await settle();
    body.destroy(new Error('aborted'));
    expect(await pumped).toEqual({ end: 'cut', taken: 12 });
    expect(sink.text).toBe('first second');
  });

  it('when the client went away before it looked', async () => {
    const body = new PassThrough();
    body.on('error', () => {});
    body.write('already here');
    body.destroy(new Error('aborted'));
    await settle();
    const sink = new SlowSink();
    expect(await pumpBody(body, sink, optionsWith())).toEqual({ end: 'cut', taken: 12 });
    expect(sink.text).toBe('already here');
  });

  it('but never more than the limit', async () => {
    const body = new PassThrough();
    const sink = new SlowSink(true);
    const release = new AbortController();
    const pumped = pumpBody(body, sink, optionsWith({ signal: release.signal, limit: 8 }));
    body.write('first ');
    await settle();
    body.write('second');
    await settle();
    release.abort();
    expect(await pumped).toEqual({ end: 'limit', taken: 6 });
    expect(sink.text).toBe('first ');
  });

  it('and nothing after the lock was lost', async () => {
    const body = new PassThrough();
    const sink = new SlowSink(true);
    const lost = new AbortController();
    const pumped = pumpBody(body, sink, optionsWith({ lock: { lost: lost.signal } }));
    body.write('first ');
    await settle();
    body.write('second');
    lost.abort();
    await expect(pumped).rejects.toSatisfy((error) => isStoreError(error, 'lock_lost'));
    expect(sink.text).toBe('first ');
  });
});

describe('the idle timeout', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('ends a body that is silent for so long', async () => {
    const body = new PassThrough();
    const pumped = pumpBody(body, new SlowSink(), optionsWith({ idleTimeoutMs: 1_000 }));
    body.write('hello');
    await settle();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await pumped).toEqual({ end: 'idle', taken: 5 });
  });

  it('starts again with every byte', async () => {
    const body = new PassThrough();
    const sink = new SlowSink();
    const pumped = pumpBody(body, sink, optionsWith({ idleTimeoutMs: 1_000 }));
    for (let second = 0; second < 10; second++) {
      body.write('x');
      await settle();
      await vi.advanceTimersByTimeAsync(900);
    }
    body.end();
    expect(await pumped).toEqual({ end: 'end', taken: 10 });
  });

  it('never runs out while the sink holds the socket back itself', async () => {
    const body = new PassThrough();
    const sink = new SlowSink(true);
    const pumped = pumpBody(body, sink, optionsWith({ idleTimeoutMs: 1_000 }));
    body.write('first ');
    await settle();
    body.write('second');
    // A disk that hangs for an hour: the client is not to blame.
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(sink.text).toBe('first ');
    sink.isSlow = false;
    sink.onDrain?.();
    await settle();
    expect(sink.text).toBe('first second');
    // From here on the client is waited for again, for the whole time.
    await vi.advanceTimersByTimeAsync(900);
    body.write(' third');
    await settle();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await pumped).toEqual({ end: 'idle', taken: 18 });
  });

  it('is off at 0', async () => {
    const body = new PassThrough();
    const pumped = pumpBody(body, new SlowSink(), optionsWith());
    await vi.advanceTimersByTimeAsync(24 * 3_600_000);
    body.end('late');
    expect(await pumped).toEqual({ end: 'end', taken: 4 });
  });
});

it('takes no timer, listener or callback with it when it is over', async () => {
  const body = new PassThrough();
  const sink = new SlowSink();
  const release = new AbortController();
  const pumped = pumpBody(body, sink, optionsWith({ idleTimeoutMs: 20, signal: release.signal }));
  body.end('all');
  const result = await pumped;
  await sleep(40);
  release.abort();
  expect(result).toEqual({ end: 'end', taken: 3 });
  expect(sink.onFailure).toBeUndefined();
});
