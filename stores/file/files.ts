import fs from 'node:fs';

/**
 * The few file operations of the hot path, over the callback API: promises' FileHandle costs several times more
 * per call, which is most of what a small upload costs.
 */

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

export async function createEmpty(path: string): Promise<void> {
  await close(await open(path, 'wx'));
}

export function readTextIfExists(path: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    fs.readFile(path, 'utf8', (error, text) => {
      if (!error) resolve(text);
      else if (error.code === 'ENOENT') resolve(undefined);
      else reject(error);
    });
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
    await close(fd);
  }
}

/** All of the text, at the start of an empty file. */
export function writeText(fd: number, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.writeFile(fd, text, (error) => (error ? reject(error) : resolve()));
  });
}
