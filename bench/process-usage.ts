import { readFile, writeFile } from 'node:fs/promises';

/** Linux counts in these whatever its own timer does (`getconf CLK_TCK`). */
const TICKS_PER_SECOND = 100;

/** User and system seconds that a process has used so far, all its threads together: `/proc/<pid>/stat`. */
export async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The second field is the program's name in parentheses, which may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Forgets the peak, so that the next `peakResidentBytes` is that of one run (proc(5), clear_refs). */
export async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5').catch(() => {});
}

/** Most memory that was resident at once: `VmHWM`. */
export async function peakResidentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return Number(kib ?? 0) * 1024;
}
