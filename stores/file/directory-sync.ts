import * as files from './files.ts';

export interface DirectorySync {
  /** Resolves when every entry that was in the directory at the time of the call is on the disk. */
  sync(): Promise<void>;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Forces a directory's entries to the disk, for many callers at once: one `fsync` covers everything that was there
 * when it began, so whoever comes while one is running shares the next one. Uploads that finish together pay for
 * two of them, not for one each.
 */
export function createDirectorySync(path: string): DirectorySync {
  let opened: Promise<number> | undefined;
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  function open(): Promise<number> {
    opened ??= files.open(path, 'r').catch((error: unknown) => {
      // Too many open files, say: the next one tries again.
      opened = undefined;
      throw error;
    });
    return opened;
  }

  async function run(): Promise<void> {
    next = undefined;
    try {
      await files.sync(await open());
    } finally {
      running = undefined;
    }
  }

  return {
    sync() {
      if (running === undefined) {
        running = run();
        return running;
      }
      next ??= running
        .catch(() => {})
        .then(() => {
          running = run();
          return running;
        });
      return next;
    },
    async close() {
      const fd = await opened?.catch(() => undefined);
      opened = undefined;
      if (fd !== undefined) await files.close(fd);
    },
  };
}
