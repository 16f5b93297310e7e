import type { CheckGroup, Finding, Level } from './types.ts';

export interface CheckResult {
  name: string;
  findings: Finding[];
  durationMs: number;
}

export interface GroupResult {
  title: string;
  checks: CheckResult[];
  /** Names of the checks that were left out after a finding that ended the group. */
  skipped: string[];
}

export interface RunListener {
  onGroup?: (title: string) => void;
  onCheck?: (result: CheckResult) => void;
  onSkipped?: (names: string[]) => void;
}

/**
 * Runs one group after the other, and one check after the other: they are there to be understood, not to be fast.
 * Whatever happens, also after `signal`, every group is closed.
 */
export async function runChecks(
  groups: readonly CheckGroup[],
  listener: RunListener = {},
  signal?: AbortSignal,
): Promise<GroupResult[]> {
  const results: GroupResult[] = [];
  for (const group of groups) {
    if (signal?.aborted) {
      await group.close();
      continue;
    }
    listener.onGroup?.(group.title);
    const result: GroupResult = { title: group.title, checks: [], skipped: [] };
    results.push(result);
    const add = (check: CheckResult) => {
      result.checks.push(check);
      listener.onCheck?.(check);
    };
    let isOver = false;
    for (const check of group.checks) {
      if (isOver || signal?.aborted) {
        result.skipped.push(check.name);
        continue;
      }
      const outcome = await timed(check.name, () => check.run());
      add(outcome);
      isOver = outcome.findings.some(({ isFatal }) => isFatal === true);
    }
    const cleaning = await timed('cleaning up', () => group.close());
    if (cleaning.findings.length > 0) add(cleaning);
    if (result.skipped.length > 0) listener.onSkipped?.(result.skipped);
  }
  return results;
}

async function timed(name: string, run: () => Promise<Finding[]>): Promise<CheckResult> {
  const startedAt = performance.now();
  const findings = await run().catch((error: unknown): Finding[] => [
    {
      level: 'fail',
      text: `The check itself failed: ${error instanceof Error ? error.message : String(error)}.`,
      change: 'Run it again; if it stays so, report it with the output of `landfall doctor --json`.',
    },
  ]);
  return { name, findings, durationMs: Math.round(performance.now() - startedAt) };
}

export function countLevels(results: readonly GroupResult[]): Record<Level, number> {
  const counts = { ok: 0, warn: 0, fail: 0 };
  for (const { checks } of results) {
    for (const { findings } of checks) for (const { level } of findings) counts[level] += 1;
  }
  return counts;
}
