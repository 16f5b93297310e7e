import fs from 'node:fs';

/**
 * The few file operations of the hot path, over the callback API: promises' FileHandle costs several times more
 * per call, which is most of what a small upload costs.
 */

const { O_WRONLY, O_CREAT, O_EXCL, O_DSYNC } = fs.constants;
export const WRITE = O_WRONLY;
export const WRITE_NEW = O_WRONLY | O_CREAT | O_EXCL;
/** Added to those: every write is on the disk before it returns, as if `fdatasync` followed. POSIX has it everywhere. */
export const SYNCED = O_DSYNC;

/** Room for the info of an upload with ordinary metadata; a piece of Node's pool. */
const FIRST_READ_BYTES = 2048;

export function open(path: string, flags: number | string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, (error, fd) => (error ? reject(error) : resolve(fd)));
  });
}

export function close(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * Closes a file that has nothing left to write: it was only read, or has just been synced. Then closing waits for
 * nothing on any file system, and the way through the thread pool costs ten times as much as the call.
 */
export function closeClean(fd: number): void {
  fs.closeSync(fd);
}

export async function createEmpty(path: string): Promise<void> {
  closeClean(await open(path, WRITE_NEW));
}

/** For small files, which fit into the first read: a look at the size before would be one more way to the disk. */
export async function readTextIfExists(path: string): Promise<string | undefined> {
  let fd: number;
  try {
    fd = await open(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const first = Buffer.allocUnsafe(FIRST_READ_BYTES);
    const count = await read(fd, first);
    if (count < first.length) return first.toString('utf8', 0, count);
    return await readWholeText(fd);
  } finally {
    closeClean(fd);
  }
}

function read(fd: number, buffer: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, buffer, 0, buffer.length, 0, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

/** From the start: the positioned read before it moved nothing. */
function readWholeText(fd: number): Promise<string> {
  return new Promise((resolve, reject) => {
    fs.readFile(fd, 'utf8', (error, text) => (error ? reject(error) : resolve(text)));
  });
}

export function statIfExists(path: string): Promise<fs.Stats | undefined> {
  return new Promise((resolve, reject) => {
    fs.stat(path, (error, stats) => {
      if (!error) resolve(stats);
      else if (error.code === 'ENOENT') resolve(undefined);
      else reject(error);
    });
  });
}

/** @returns whether there was something to remove. */
export function unlinkIfExists(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    fs.unlink(path, (error) => {
      if (!error) resolve(true);
      else if (error.code === 'ENOENT') resolve(false);
      else reject(error);
    });
  });
}

export function syncData(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });
}

export function sync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fsync(fd, (error) => (error ? reject(error) : resolve()));
  });
}

/** Forces a file to the disk. */
export async function syncPath(path: string): Promise<void> {
  const fd = await open(path, 'r');
  try {
    await sync(fd);
  } finally {
    closeClean(fd);
  }
}

/** All of the text, at the start of an empty file. */
export async function writeText(fd: number, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  let written = 0;
  while (written < bytes.length) written += await write(fd, bytes, written);
}

function write(fd: number, bytes: Buffer, from: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, from, bytes.length - from, from, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}
