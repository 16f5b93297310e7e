import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Logger, pino } from 'pino';
import { createProcessorHost, type ProcessorHost } from '../../processors/host.ts';
import { type Backend, openBackend } from '../../server/backend.ts';
import { loadConfig } from '../../server/config.ts';
import type { Listener } from '../../server/pipeline/announcer.ts';
import { createServices, type Services } from '../../server/services.ts';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { Job } from '../../stores/queue/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { freeLock } from './memory-lock.ts';
import { appendBytes, newUpload } from './stored-uploads.ts';

export interface LogLine {
  level: number;
  msg: string;
  uploadId?: string;
}

/** Everything behind the routes, over a directory of its own; no job runs before `afterwards.start()`. */
export interface TestServices extends Services {
  backend: Backend;
  host: ProcessorHost;
  directory: string;
  /** Warnings and errors. */
  logged: LogLine[];
  /** A full upload in the store that nobody has finished yet. */
  storeUpload(content: Buffer, fields?: Partial<StoredUpload>): Promise<StoredUpload>;
  /** One that waits for its job, or is at its end when nothing has to be done with it. */
  finishedUpload(content: Buffer, fields?: Partial<StoredUpload>): Promise<UploadRecord>;
  /** Does the job of an upload here and now. */
  runJob(id: string, attempt?: number, signal?: AbortSignal): Promise<void>;
  /** Says that it was tried often enough. */
  giveUp(id: string, error: unknown): Promise<void>;
  record(id: string): Promise<UploadRecord | undefined>;
  close(): Promise<void>;
}

export interface TestServicesOptions {
  env?: Record<string, string>;
  listeners?: Listener[];
  /** Shared with other tests, which saves each the start of a process. Default: one of its own. */
  host?: ProcessorHost;
}

export async function openTestServices({
  env = {},
  listeners = [],
  host: sharedHost,
}: TestServicesOptions = {}): Promise<TestServices> {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-services-'));
  const config = loadConfig({ env: { LANDFALL_DATA_DIR: directory, ...env }, cwd: directory });
  const logged: LogLine[] = [];
  const log: Logger = pino(
    { level: 'warn' },
    { write: (line: string) => void logged.push(JSON.parse(line)) },
  );
  const backend = await openBackend(config, { log, onRecordsLost: () => {} });
  const ownHost =
    sharedHost ?? createProcessorHost({ concurrency: 1, memoryBytes: config.previewMemoryBytes, log });
  // A copy: what a test puts in the place of a method is gone with it.
  const host = { ...ownHost };
  const services = createServices(config, { backend, host, listeners, log });
  const { store, catalog } = backend;

  async function storeUpload(content: Buffer, fields: Partial<StoredUpload> = {}): Promise<StoredUpload> {
    const upload = await store.create(newUpload({ size: content.length, ...fields }));
    await appendBytes(store, upload, Buffer.from(content));
    return upload;
  }

  return {
    ...services,
    backend,
    host,
    directory,
    logged,
    storeUpload,
    async finishedUpload(content, fields) {
      return services.uploads.finisher.finishUpload(await storeUpload(content, fields), freeLock());
    },
    runJob(id, attempt = 1, signal = new AbortController().signal) {
      return services.afterwards.job.run(jobOf(id, attempt), signal);
    },
    giveUp: (id, error) => services.afterwards.job.giveUp(jobOf(id, 30), error),
    record: (id) => catalog.get(id),
    async close() {
      await services.uploads.active.drain();
      await services.sweeper.close();
      await services.afterwards.pipeline.close();
      if (sharedHost === undefined) await ownHost.close();
      await backend.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function jobOf(uploadId: string, attempt: number): Job {
  return { id: `finish:${uploadId}`, kind: 'finish', data: { uploadId }, attempt };
}
