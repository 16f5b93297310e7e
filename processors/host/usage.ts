import { readFileSync, writeFileSync } from 'node:fs';
import type { Usage } from './messages.ts';
import { peakResidentBytes } from './process-memory.ts';

/** USER_HZ, the unit of /proc/<pid>/stat, which Linux promises to all programs. */
const MS_PER_TICK = 10;

/** Starts to measure this process; the function that it returns ends that. */
export function measureUsage(): () => Usage {
  resetPeak();
  const before = process.cpuUsage();
  const programsBefore = cpuOfEndedPrograms();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return {
      cpuMs: Math.round((user + system) / 1000 + cpuOfEndedPrograms() - programsBefore),
      // Kilobytes, and of the whole life of the process: only where there is no /proc.
      peakMemoryBytes: peakResidentBytes(process.pid) ?? process.resourceUsage().maxRSS * 1024,
    };
  };
}

/** proc(5), clear_refs: 5 sets the peak back to what is resident now. */
function resetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // The peak is then that of the process so far: too much rather than too little.
  }
}

/** Milliseconds, user and system, of children that were waited for: fields 16 and 17. */
function cpuOfEndedPrograms(): number {
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[13]) + Number(fields[14])) * MS_PER_TICK;
  } catch {
    return 0;
  }
}
