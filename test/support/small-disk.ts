import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const makeDirectory = promisify(mkdtemp);

/** A place for a data directory that is full after so many bytes, until it is made larger. */
export interface SmallDisk {
  path: string;
  /** To be called when the server runs. */
  limit(pid: number): Promise<void>;
  makeRoom(pid: number): Promise<void>;
  remove(): Promise<void>;
}

export type SmallDiskKind = 'a full file system' | 'a limit on file sizes';

/** A file system of its own where we may mount one; a limit on the size of files (EFBIG) can be set everywhere. */
export function smallDiskKinds(): SmallDiskKind[] {
  return canMount() ? ['a full file system', 'a limit on file sizes'] : ['a limit on file sizes'];
}

export async function createSmallDisk(kind: SmallDiskKind, bytes: number): Promise<SmallDisk> {
  const path = await makeDirectory(join(tmpdir(), 'landfall-small-disk-'));
  if (kind === 'a full file system') {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'landfall-test', path]);
    return {
      path,
      limit: async () => {},
      makeRoom: async () => void (await run('mount', ['-o', 'remount,size=256m', path])),
      async remove() {
        await run('umount', [path]);
        rmdirSync(path);
      },
    };
  }
  // The soft limit alone: it can be raised again without being root.
  const setLimit = async (pid: number, soft: string) => {
    await run('prlimit', ['--pid', String(pid), `--fsize=${soft}:unlimited`]);
  };
  return {
    path,
    limit: (pid) => setLimit(pid, String(bytes)),
    makeRoom: (pid) => setLimit(pid, 'unlimited'),
    remove: async () => rmSync(path, { recursive: true, force: true }),
  };
}

function canMount(): boolean {
  const path = mkdtempSync(join(tmpdir(), 'landfall-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'landfall-test', path], { stdio: 'ignore' });
    execFileSync('umount', [path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(path);
  }
}
