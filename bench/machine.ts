import { mkdtemp, statfs } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';

const MEMORY_DIR = '/dev/shm';
/** Every server's largest original, and what the runs leave behind. */
const NEEDED_BYTES = 8 * 1024 ** 3;

/** What a reader needs to know to compare figures; nothing that names the machine. */
export interface Machine {
  node: string;
  cores: number;
  cpu: string;
  memoryGib: number;
}

export function describeMachine(): Machine {
  return {
    node: process.version,
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? 'unknown',
    memoryGib: Math.round(totalmem() / 1024 ** 3),
  };
}

/** A new directory, in memory where that has room: the file system's speed is not what is measured. */
export async function createDataDir(dir: string | undefined): Promise<string> {
  const base = dir ?? ((await hasRoom(MEMORY_DIR)) ? MEMORY_DIR : tmpdir());
  return mkdtemp(join(base, 'landfall-bench-'));
}

async function hasRoom(path: string): Promise<boolean> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize >= NEEDED_BYTES;
  } catch {
    return false;
  }
}
