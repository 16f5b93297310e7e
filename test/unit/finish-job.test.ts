import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createProcessorHost, type ProcessorHost } from '../../processors/host.ts';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import { StoreError } from '../../stores/errors.ts';
import type { UploadEvent, UploadEventType } from '../../stores/events/types.ts';
import { parseMediaInfo } from '../../stores/media-info.ts';
import { TerminalJobError } from '../../stores/queue/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { sha256Hex } from '../faults/random.ts';
import { freeLock } from '../support/memory-lock.ts';
import { until } from '../support/redis.ts';
import { openTestServices, type TestServices } from '../support/test-services.ts';

/* One upload from its last byte to its end, with what can go wrong on the way. */

let photo: Buffer;
let digest: { declaredDigest: { algorithm: 'sha-256'; hex: string } };
let host: ProcessorHost;
let world: TestServices;
let events: UploadEvent[];
/** What a listener was told, and what it throws next. */
let told: [id: string, type: UploadEventType][];
let listenerFailure: Error | undefined;

beforeAll(async () => {
  host = createProcessorHost({ concurrency: 1, memoryBytes: 1024 ** 3, log: pino({ level: 'silent' }) });
  const noise = { type: 'gaussian', mean: 120, sigma: 30 } as const;
  photo = await sharp({ create: { width: 400, height: 300, channels: 3, background: '#000', noise } })
    .jpeg()
    .toBuffer();
  digest = { declaredDigest: { algorithm: 'sha-256', hex: sha256Hex(photo) } };
});

beforeEach(async () => {
  events = [];
  told = [];
  listenerFailure = undefined;
});

afterAll(() => host.close());

afterEach(async () => {
  await world.close();
});

async function open(env: Record<string, string> = {}): Promise<void> {
  const wanted: readonly string[] = ['received', 'ready', 'rejected', 'failed'];
  world = await openTestServices({
    env,
    host,
    listeners: [
      {
        wants: (type) => wanted.includes(type),
        async announce({ id }, type) {
          const failure = listenerFailure;
          listenerFailure = undefined;
          if (failure !== undefined) throw failure;
          told.push([id, type]);
        },
      },
    ],
  });
  await world.backend.events.subscribe({}, undefined, (event) => void events.push(event));
}

const typesOf = (id: string) => events.filter(({ uploadId }) => uploadId === id).map(({ type }) => type);
const toldOf = (id: string) => told.filter(([uploadId]) => uploadId === id).map(([, type]) => type);
const unavailable = () => new StoreError('store_unavailable', 'away for a moment');

async function previewsOf(id: string): Promise<string[]> {
  const directory = join(world.directory, 'previews', id);
  return (await readdir(directory).catch(() => [])).sort();
}

async function received(content: Buffer, fields = {}): Promise<UploadRecord> {
  const record = await world.finishedUpload(content, fields);
  expect(record.state).toBe('received');
  return record;
}

function failOnce<T extends object, K extends keyof T>(target: T, method: K, error: Error): void {
  const before = target[method];
  target[method] = (async () => {
    target[method] = before;
    throw error;
  }) as T[K];
}

describe('an upload that works', () => {
  test('is verified, gets its previews, and is told of, in this order', async () => {
    await open();
    const { id } = await received(photo, digest);
    await world.runJob(id);
    expect(await world.record(id)).toMatchObject({ state: 'ready', sha256: sha256Hex(photo) });
    expect(typesOf(id)).toEqual(['received', 'verified', 'preview', 'ready']);
    expect(toldOf(id)).toEqual(['received', 'ready']);
    expect(await previewsOf(id)).toEqual([
      'manifest.json',
      expect.stringMatching(/^preview-[0-9a-f]{16}\.webp$/),
      expect.stringMatching(/^thumb-[0-9a-f]{16}\.webp$/),
    ]);
    expect(await readdir(join(world.directory, 'spool'))).toEqual([]);
  });

  test('run again, tells its end again, and does nothing else', async () => {
    await open();
    const { id } = await received(photo);
    await world.runJob(id);
    const before = await world.record(id);
    await world.runJob(id, 2);
    expect(await world.record(id)).toEqual(before);
    expect(toldOf(id)).toEqual(['received', 'ready', 'ready']);
  });

  test('takes its previews from the manifest, when the catalog has forgotten them', async () => {
    await open();
    const { id } = await received(photo);
    await world.runJob(id);
    const { media } = (await world.record(id)) as UploadRecord;
    await world.backend.catalog.remove(id);
    const upload = await world.backend.store.getUpload(id);
    expect((await world.uploads.finisher.finishUpload(upload, freeLock())).state).toBe('received');
    world.host.run = () => Promise.reject(new Error('this is not to be done again'));
    await world.runJob(id);
    expect(await world.record(id)).toMatchObject({ state: 'ready', media });
  });
});

describe('a failure that passes', () => {
  test.each(['openOriginal', 'put', 'putManifest', 'flush', 'announce'])(
    'of %s: the next attempt does it',
    async (what) => {
      await open();
      const { store, previews, catalog } = world.backend;
      const { id } = await received(photo, digest);
      if (what === 'openOriginal') failOnce(store, 'openOriginal', unavailable());
      if (what === 'put') failOnce(previews, 'put', unavailable());
      if (what === 'putManifest') failOnce(previews, 'putManifest', unavailable());
      if (what === 'flush') failOnce(catalog, 'flush', unavailable());
      if (what === 'announce') listenerFailure = unavailable();
      await expect(world.runJob(id)).rejects.toMatchObject({ code: 'store_unavailable' });
      await world.runJob(id, 2);
      expect(await world.record(id)).toMatchObject({ state: 'ready', sha256: sha256Hex(photo) });
      expect(toldOf(id)).toEqual(['received', 'ready']);
      expect(await previewsOf(id)).toHaveLength(3);
      expect(await readdir(join(world.directory, 'spool'))).toEqual([]);
    },
  );

  test('goes through the queue, with what other attempts there are', async () => {
    await open();
    failOnce(world.backend.previews, 'put', unavailable());
    const { id } = await received(photo);
    world.afterwards.start();
    await until(async () => (await world.record(id))?.state === 'ready', 15_000);
    const { media } = (await world.record(id)) as UploadRecord;
    expect(parseMediaInfo(media)?.processing).toMatchObject({ attempts: 2 });
    expect(world.logged).toMatchObject([{ msg: 'an attempt to process an upload failed', uploadId: id }]);
  });

  test('of the queue, when the last byte arrives: the client is not told, and the sweep leaves the job', async () => {
    await open();
    failOnce(world.backend.queue, 'add', unavailable());
    const { id } = await received(photo);
    expect((await world.afterwards.pipeline.counts()).waiting).toBe(0);
    await world.afterwards.sweep.takeUpLost(new AbortController().signal, true);
    world.afterwards.start();
    await until(async () => (await world.record(id))?.state === 'ready', 15_000);
    // It may have been the telling that failed.
    expect(toldOf(id)).toEqual(['received', 'received', 'ready']);
  });
});

describe('given up', () => {
  test('after too many attempts: failed, told of, and served if nothing speaks against it', async () => {
    await open();
    const plain = await received(photo);
    const declared = await received(photo, digest);
    for (const { id } of [plain, declared]) {
      await world.giveUp(id, unavailable());
      expect(await world.record(id)).toMatchObject({ state: 'failed', reasonCode: 'processing_failed' });
      expect(toldOf(id)).toEqual(['received', 'failed']);
    }
    const servable = async (id: string) =>
      world.afterwards.plan.isServable((await world.record(id)) as UploadRecord);
    expect(await servable(plain.id)).toBe(true);
    expect(await servable(declared.id)).toBe(false);
  });

  test('at once when its bytes are gone, though nobody deleted them', async () => {
    await open();
    const { id } = await received(photo);
    await world.backend.store.removeUpload(id, freeLock());
    const failure = await world.runJob(id).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TerminalJobError);
    await world.giveUp(id, failure);
    const reason = 'The upload could not be processed: the original is missing.';
    expect(await world.record(id)).toMatchObject({ state: 'failed', reason });
    expect(world.logged).toMatchObject([
      { level: 50, msg: 'an upload could not be processed', uploadId: id },
    ]);
  });

  test('not when its client deleted it meanwhile: that is no error, and leaves no previews', async () => {
    await open();
    const { store, catalog, previews } = world.backend;
    const { id } = await received(photo);
    const { putManifest } = previews;
    // The DELETE comes after the first preview is stored.
    previews.putManifest = async (...args) => {
      await catalog.transition(id, 'processing', 'aborted', { reasonCode: 'deleted' });
      await store.removeUpload(id, freeLock());
      await putManifest(...args);
    };
    await world.runJob(id);
    expect(await world.record(id)).toMatchObject({ state: 'aborted' });
    expect(await previewsOf(id)).toEqual([]);
    expect(world.logged).toEqual([]);
  });

  test('not when this process ends: the work begins anew', async () => {
    await open();
    const { id } = await received(photo);
    const stop = new AbortController();
    const { run } = world.host;
    world.host.run = (path, options) => {
      stop.abort(new Error('shutting down'));
      return run(path, options);
    };
    await expect(world.runJob(id, 1, stop.signal)).rejects.toThrow('shutting down');
    expect(await world.record(id)).toMatchObject({ state: 'processing' });
    world.host.run = run;
    await world.runJob(id, 2);
    expect(await world.record(id)).toMatchObject({ state: 'ready' });
  });
});

describe('rejected', () => {
  test('by its digest: told of once, and not worked on', async () => {
    await open();
    const wrong = { declaredDigest: { algorithm: 'sha-256', hex: '0'.repeat(64) } };
    const { id } = await received(photo, wrong);
    await world.runJob(id);
    expect(await world.record(id)).toMatchObject({ state: 'rejected', reasonCode: 'checksum_mismatch' });
    expect(typesOf(id)).toEqual(['received', 'rejected']);
    expect(toldOf(id)).toEqual(['received', 'rejected']);
    expect(await previewsOf(id)).toEqual([]);
  });

  test('by its content: at once, and told of by the job', async () => {
    await open({ LANDFALL_ALLOWED_TYPES: 'text/csv' });
    const { id, state } = await world.finishedUpload(photo);
    expect(state).toBe('rejected');
    expect(toldOf(id)).toEqual(['received']);
    await world.runJob(id);
    expect(toldOf(id)).toEqual(['received', 'rejected']);
    expect(await world.record(id)).toMatchObject({ reasonCode: 'type_not_allowed' });
  });

  test('by its content, when the process ended before it could say so', async () => {
    await open({ LANDFALL_ALLOWED_TYPES: 'text/csv' });
    const { catalog } = world.backend;
    const { transition } = catalog;
    catalog.transition = async (id, from, to, patch) =>
      to === 'rejected' ? undefined : transition(id, from, to, patch);
    const { id } = await received(photo);
    expect(world.afterwards.plan.isServable((await world.record(id)) as UploadRecord)).toBe(false);
    catalog.transition = transition;
    await world.runJob(id);
    expect(await world.record(id)).toMatchObject({ state: 'rejected', reasonCode: 'type_not_allowed' });
  });
});

describe('the sweep', () => {
  const never = new AbortController().signal;

  test('takes up a job that was given up without its record saying so', async () => {
    await open();
    const { catalog, queue } = world.backend;
    const { id } = await received(photo);
    await queue.remove(`finish:${id}`);
    await catalog.transition(id, 'received', 'processing', { updatedAtMs: Date.now() - 7 * 3600_000 });
    await world.afterwards.sweep.takeUpLost(never);
    expect((await world.afterwards.pipeline.counts()).waiting).toBe(1);
  });

  test('leaves what was touched a moment ago', async () => {
    await open();
    const { id } = await received(photo);
    await world.backend.queue.remove(`finish:${id}`);
    await world.afterwards.sweep.takeUpLost(never);
    expect((await world.afterwards.pipeline.counts()).waiting).toBe(0);
  });

  test('at the start leaves what is worked on already to who does so: it is told once', async () => {
    await open();
    const { queue, catalog } = world.backend;
    const { promise: isHeld, resolve: hold } = Promise.withResolvers<void>();
    const { promise: go, resolve: letGo } = Promise.withResolvers<void>();
    const run = world.host.run.bind(world.host);
    world.host.run = async (...args) => {
      hold();
      await go;
      return run(...args);
    };
    const [worked, lost] = [await received(photo), await received(photo)];
    await queue.remove(`finish:${lost.id}`);
    world.afterwards.start();
    await isHeld;
    await world.afterwards.sweep.takeUpLost(never, true);
    letGo();
    await until(async () => (await world.record(lost.id))?.state === 'ready', 15_000);
    await until(async () => Object.values(await queue.counts('finish')).every((jobs) => jobs === 0));
    expect(toldOf(worked.id)).toEqual(['received', 'ready']);
    expect(toldOf(lost.id)).toEqual(['received', 'received', 'ready']);
    expect((await catalog.get(worked.id))?.state).toBe('ready');
  });

  test('finds no work where it was done since the list was made', async () => {
    await open();
    const { catalog } = world.backend;
    const { id } = await received(photo);
    const { list } = catalog;
    catalog.list = async (...args) => {
      const page = await list(...args);
      if (page.items.length > 0) {
        await world.runJob(id);
        await world.backend.queue.remove(`finish:${id}`);
      }
      return page;
    };
    await world.afterwards.sweep.takeUpLost(never, true);
    expect((await world.afterwards.pipeline.counts()).waiting).toBe(0);
  });

  test('removes previews of uploads that are gone, and of no other', async () => {
    await open();
    const { previews, catalog } = world.backend;
    const { id } = await received(photo);
    await world.runJob(id);
    const [gone, forgotten] = [newUploadId(), (await received(photo)).id];
    for (const orphan of [gone, forgotten]) await previews.putManifest(orphan, '{}', []);
    // The catalog may have lost it: the store knows better.
    await catalog.remove(forgotten);
    await world.afterwards.sweep.tidy(never);
    expect(await previewsOf(gone)).toEqual([]);
    expect(await previewsOf(forgotten)).toEqual(['manifest.json']);
    expect(await previewsOf(id)).toHaveLength(3);
  });

  test('removes what crashed work left in the spool, and nothing of anybody else', async () => {
    await open();
    const spool = join(world.directory, 'spool');
    const old = new Date(Date.now() - 3600_000);
    const [dead, alive, foreign] = [
      'landfall-job-0123456789abcdef01234567',
      `landfall-job-${'f'.repeat(24)}`,
      'mine',
    ];
    for (const name of [dead, alive, foreign]) {
      await mkdir(join(spool, name), { recursive: true });
      await writeFile(join(spool, name, 'original'), 'x');
      if (name !== alive) await utimes(join(spool, name), old, old);
    }
    await world.afterwards.sweep.tidy(never);
    expect((await readdir(spool)).sort()).toEqual([alive, foreign].sort());
  });

  test('removes the bytes of a rejected upload in time, and keeps saying why', async () => {
    await open({ LANDFALL_REJECTED_RETENTION: '1h' });
    const { catalog } = world.backend;
    const wrong = { declaredDigest: { algorithm: 'sha-256', hex: '0'.repeat(64) } };
    const { id } = await received(photo, wrong);
    await world.runJob(id);
    const uploads = async () => (await readdir(join(world.directory, 'uploads'))).length;
    await world.afterwards.sweep.tidy(never);
    expect(await uploads()).toBe(2);
    await catalog.update(id, { expiresAtMs: Date.now() - 1 });
    await world.afterwards.sweep.tidy(never);
    expect(await uploads()).toBe(0);
    expect(await world.record(id)).toMatchObject({ state: 'rejected', expiresAtMs: null });
  });
});
