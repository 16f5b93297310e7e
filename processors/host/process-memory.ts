import { readdirSync, readFileSync } from 'node:fs';

/**
 * Resident memory from /proc; nothing is known where there is none. Synchronous: /proc answers from memory within
 * microseconds, and must not wait behind a thread pool that is busy with uploads.
 */

/** Bytes of one process; undefined: it is gone, or there is no /proc. */
export function residentBytes(pid: number): number | undefined {
  return sizeInStatus(pid, 'VmRSS');
}

/** Most bytes since the process started, or since `resetPeak`. */
export function peakResidentBytes(pid: number): number | undefined {
  return sizeInStatus(pid, 'VmHWM');
}

/**
 * Bytes of all processes of a group: of its leader and the programs that it started. Looks at every process of the
 * machine (some 10 µs each), so not to be called all the time.
 */
export function residentBytesOfGroup(groupId: number): number | undefined {
  const pids = numbersIn('/proc').filter((pid) => groupOf(pid) === groupId);
  return pids.length === 0 ? undefined : pids.reduce((sum, pid) => sum + (residentBytes(pid) ?? 0), 0);
}

/** Threads of a process, which Linux gives ids of the same kind. */
export function threadsOf(pid: number): number[] {
  return numbersIn(`/proc/${pid}/task`);
}

function numbersIn(directory: string): number[] {
  try {
    return readdirSync(directory).map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

/** proc(5): the program's name, which may have spaces and parentheses, then state, parent and group. */
function groupOf(pid: number): number | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const group = stat?.slice(stat.lastIndexOf(')') + 2).split(' ', 3)[2];
  return group === undefined ? undefined : Number(group);
}

function sizeInStatus(pid: number, name: string): number | undefined {
  const kibibytes = new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
