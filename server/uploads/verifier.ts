import { createHash } from 'node:crypto';
import { Writable } from 'node:stream';
import type { FastifyBaseLogger } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import type { UploadCatalog, UploadStore } from '../../stores/types.ts';
import type { Finisher } from './finish.ts';

const RETRY_DELAY_MS = 5_000;

export interface VerifierOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  finisher: () => Finisher;
  log: FastifyBaseLogger;
}

export interface Verifier {
  /** Reads the upload again, one at a time, and settles it. Asking twice for one that waits does nothing. */
  enqueue(id: string): void;
  close(): Promise<void>;
}

/**
 * Computes the SHA-256 of finished uploads that were not hashed while they came in (they met several processes, or
 * the server was restarted in between). The catalog remembers who waits: after a crash the reconciliation at start
 * enqueues everything that is `received` or `processing` again.
 */
export function createVerifier({ store, catalog, finisher, log }: VerifierOptions): Verifier {
  const waiting = new Set<string>();
  const stop = new AbortController();
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    for (const id of waiting) {
      if (stop.signal.aborted) return;
      waiting.delete(id);
      try {
        await verify(id);
      } catch (error) {
        if (stop.signal.aborted) return;
        const isGone = isStoreError(error, 'upload_not_found') || isStoreError(error, 'upload_gone');
        if (isGone && !(await isExpected(id))) continue;
        log.error({ uploadId: id, error }, 'verification failed');
        if (isGone) continue;
        setTimeout(() => enqueue(id), RETRY_DELAY_MS).unref();
      }
    }
  }

  /** False: its client deleted it while it waited, and there is nothing left to verify. */
  async function isExpected(id: string): Promise<boolean> {
    const record = await catalog.get(id).catch(() => undefined);
    return record?.state === 'processing';
  }

  async function verify(id: string): Promise<void> {
    const isMine = await catalog.transition(id, ['received', 'processing'], 'processing');
    if (!isMine) return;
    await finisher().settle(id, await sha256Of(store, id, stop.signal));
  }

  function enqueue(id: string): void {
    if (stop.signal.aborted) return;
    waiting.add(id);
    start();
  }

  function start(): void {
    running ??= run().finally(() => {
      running = undefined;
      // Somebody may have come after the loop had seen its end.
      if (waiting.size > 0 && !stop.signal.aborted) start();
    });
  }

  return {
    enqueue,
    async close() {
      stop.abort();
      await running;
    },
  };
}

/** SHA-256 of a finished original, lower-case hex. */
export async function sha256Of(store: UploadStore, id: string, signal?: AbortSignal): Promise<string> {
  const reader = await store.openOriginal(id);
  try {
    const hash = createHash('sha256');
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done();
      },
    });
    if (reader.size > 0) await reader.send(sink, 0, reader.size - 1, signal);
    return hash.digest('hex');
  } finally {
    await reader.close();
  }
}
