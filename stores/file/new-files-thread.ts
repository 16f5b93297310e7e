import fs from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { syncData } from './files.ts';

/*
 * The thread of new-files.ts. Its calls block, and nothing but this thread: in a row they cost a tenth of what each of
 * them costs by way of Node's thread pool.
 */

export interface NewFilesThreadData {
  directory: string;
  /** Nothing is answered before it is on the disk. */
  isSynced: boolean;
}

/** One file after the other, in the order of `entries`: info, data, info, data… */
export interface NewFilesBatch {
  bytes: ArrayBuffer;
  entries: { id: string; infoBytes: number; dataBytes: number }[];
}

interface WrittenFile {
  path: string;
  fd: number;
  /** In `entries`. */
  index: number;
}

/** Places in `entries` of what could not be written; nothing of it is left. */
export type NewFilesAnswer = number[];

/** A disk that makes us wait for so long can as well be asked for several files at once. */
const SLOW_SYNC_MS = 0.2;

const { O_WRONLY, O_CREAT, O_EXCL } = fs.constants;
const WRITE_NEW = O_WRONLY | O_CREAT | O_EXCL;

const { directory, isSynced } = workerData as NewFilesThreadData;
let directoryFd: number | undefined;

parentPort?.on('message', async ({ bytes, entries }: NewFilesBatch) => {
  const content = new Uint8Array(bytes);
  const failed = new Set<number>();
  const written: WrittenFile[] = [];
  let position = 0;
  for (const [index, { id, infoBytes, dataBytes }] of entries.entries()) {
    for (const [path, length] of [
      [`${directory}/${id}.json`, infoBytes],
      [`${directory}/${id}`, dataBytes],
    ] as const) {
      const part = content.subarray(position, position + length);
      position += length;
      if (failed.has(index)) continue;
      attempt(index, () => {
        const fd = fs.openSync(path, WRITE_NEW);
        written.push({ path, fd, index });
        writeAll(fd, part);
      });
    }
  }
  // All are written before the first is synced: one journal commit then does for many.
  if (isSynced) await syncAll(written, failed);
  for (const { fd } of written) fs.closeSync(fd);
  if (isSynced) {
    try {
      directoryFd ??= fs.openSync(directory, 'r');
      fs.fsyncSync(directoryFd);
    } catch {
      for (const index of entries.keys()) failed.add(index);
    }
  }
  // Only what this batch has made: a path that was taken is not in `written`.
  for (const { path, index } of written.reverse()) if (failed.has(index)) fs.rmSync(path, { force: true });
  parentPort?.postMessage([...failed] satisfies NewFilesAnswer);

  function attempt(index: number, task: () => void): void {
    try {
      task();
    } catch {
      failed.add(index);
    }
  }
});

async function syncAll(written: readonly WrittenFile[], failed: Set<number>): Promise<void> {
  let next = 0;
  for (let isSlow = false; next < written.length && !isSlow; next += 1) {
    const { fd, index } = written[next] as WrittenFile;
    const startedAt = performance.now();
    try {
      fs.fdatasyncSync(fd);
    } catch {
      failed.add(index);
    }
    isSlow = performance.now() - startedAt > SLOW_SYNC_MS;
  }
  const syncs = written.slice(next).map(async ({ fd, index }) => {
    await syncData(fd).catch(() => failed.add(index));
  });
  await Promise.all(syncs);
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += fs.writeSync(fd, bytes, written, bytes.length - written, written);
}
