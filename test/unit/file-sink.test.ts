import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FileSink } from '../../stores/file/file-sink.ts';
import { WriteBudget } from '../../stores/file/write-budget.ts';
import { randomBytesOf } from '../faults/random.ts';

const KIB = 1024;
const CHUNK_BYTES = 64 * KIB;

let directory: string;
let descriptors: number[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-sink-'));
  descriptors = [];
});

afterEach(async () => {
  for (const fd of descriptors) closeSync(fd);
  await rm(directory, { recursive: true, force: true });
});

function openSink(name: string, budget: WriteBudget, flags = 'w'): FileSink {
  const fd = openSync(join(directory, name), flags);
  descriptors.push(fd);
  return new FileSink({ fd, position: 0, releaseMemory: false, budget });
}

/** Gives the sink chunks for as long as it wants them, as a socket would. */
async function send(sink: FileSink, bytes: Buffer, onChunk: () => void): Promise<void> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    const drained = new Promise<void>((resolve) => {
      sink.onDrain = resolve;
    });
    const wantsMore = sink.write(bytes.subarray(at, at + CHUNK_BYTES));
    onChunk();
    if (!wantsMore) await drained;
  }
  await sink.flush();
}

test.each([
  ['none', 0],
  ['less than a chunk', 10 * KIB],
  ['a few chunks', 200 * KIB],
  ['plenty', 64 * KIB * KIB],
])('many sinks share a budget (%s): none waits for ever, and every byte is right', async (_name, total) => {
  const budget = new WriteBudget(total);
  const contents = Array.from({ length: 20 }, (_, index) =>
    randomBytesOf(`sink ${index}`, 1_500_000 + index),
  );
  let heldMost = 0;
  const sinks = contents.map((_, index) => openSink(`${index}`, budget));
  await Promise.all(
    sinks.map((sink, index) =>
      send(sink, contents[index] as Buffer, () => {
        heldMost = Math.max(heldMost, budget.heldBytes);
      }),
    ),
  );

  contents.forEach((content, index) => {
    expect(readFileSync(join(directory, `${index}`)).equals(content)).toBe(true);
    expect(sinks[index]?.position).toBe(content.length);
  });
  // A chunk that has arrived is taken, also where nothing is free.
  expect(heldMost).toBeLessThanOrEqual(total + sinks.length * CHUNK_BYTES);
  expect(budget.heldBytes).toBe(0);
});

test('a sink alone takes 4 MiB before it holds the socket back', () => {
  const sink = openSink('alone', new WriteBudget(64 * KIB * KIB));
  let chunks = 1;
  while (sink.write(Buffer.alloc(CHUNK_BYTES))) chunks += 1;
  expect(chunks * CHUNK_BYTES).toBe(4 * KIB * KIB);
  return sink.abandon();
});

test('after abandon() nothing of the sink touches the file any more, and the budget has all back', async () => {
  const budget = new WriteBudget(64 * KIB * KIB);
  const content = randomBytesOf('abandoned', 2_000_000);
  const sink = openSink('abandoned', budget);
  for (let at = 0; at < content.length; at += CHUNK_BYTES) sink.write(content.subarray(at, at + CHUNK_BYTES));

  await sink.abandon();
  const stored = readFileSync(join(directory, 'abandoned'));
  await new Promise((resolve) => setTimeout(resolve, 50));

  expect(readFileSync(join(directory, 'abandoned')).length).toBe(stored.length);
  expect(stored.equals(content.subarray(0, sink.position))).toBe(true);
  expect(sink.position).toBeLessThan(content.length);
  expect(budget.heldBytes).toBe(0);
});

test('a write that fails gives its share of the budget back', async () => {
  const budget = new WriteBudget(KIB * KIB);
  openSink('read-only', budget);
  const sink = openSink('read-only', budget, 'r');
  sink.write(Buffer.alloc(CHUNK_BYTES));
  await expect(sink.flush()).rejects.toMatchObject({ code: 'store_unavailable' });
  await sink.abandon();
  expect(budget.heldBytes).toBe(0);
});
