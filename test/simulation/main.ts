import { ALL_RULES, type GridRules } from '../../stores/s3/rules.ts';
import { simulate } from './simulate.ts';

/*
 * npm run test:simulation -- [--seeds N] [--from N] [--off RULE,RULE]   many histories, and the first violations
 * npm run test:simulation -- --seed N [--off RULE]                      one history, with its trace
 */

const options = new Map<string, string>();
for (let index = 2; index < process.argv.length; index += 2) {
  options.set((process.argv[index] ?? '').replace(/^--/, ''), process.argv[index + 1] ?? '');
}
const rules: Partial<GridRules> = {};
for (const name of (options.get('off') ?? '').split(',').filter(Boolean)) {
  if (!(name in ALL_RULES)) {
    console.error(`There is no rule "${name}". Rules: ${Object.keys(ALL_RULES).join(', ')}`);
    process.exit(64);
  }
  rules[name as keyof GridRules] = false;
}

const seed = options.get('seed');
if (seed !== undefined) {
  const trace: string[] = [];
  const result = await simulate({ seed: Number(seed), rules, trace });
  console.log(trace.join('\n'));
  console.log(
    result.violation === undefined ? 'no violation' : String(result.violation),
    `(${result.steps} steps)`,
  );
  process.exitCode = result.violation === undefined ? 0 : 1;
} else {
  const from = Number(options.get('from') ?? 1);
  const seeds = Number(options.get('seeds') ?? 2000);
  const startedAtMs = Date.now();
  const byKind = new Map<string, { count: number; seed: number; message: string; steps: number }>();
  const totals = { done: 0, deleted: 0, expired: 0, steps: 0 };
  for (let current = from; current < from + seeds; current += 1) {
    const { violation, ...counts } = await simulate({ seed: current, rules });
    totals.done += counts.done;
    totals.deleted += counts.deleted;
    totals.expired += counts.expired;
    totals.steps += counts.steps;
    if (violation === undefined) continue;
    const known = byKind.get(violation.kind);
    const isShorter = known === undefined || counts.steps < known.steps;
    byKind.set(violation.kind, {
      count: (known?.count ?? 0) + 1,
      ...(isShorter
        ? { seed: current, message: violation.message, steps: counts.steps }
        : { seed: known.seed, message: known.message, steps: known.steps }),
    });
  }
  for (const [kind, { count, seed: shortest, message }] of byKind) {
    console.log(`${kind}: ${count} seeds, shortest --seed ${shortest}: ${message}`);
  }
  const { done, deleted, expired, steps } = totals;
  console.log(
    `${seeds} seeds, ${byKind.size === 0 ? 'no violation' : 'VIOLATIONS'}; uploads done ${done}, deleted ${deleted}, ` +
      `expired ${expired}; ${steps} steps in ${((Date.now() - startedAtMs) / 1000).toFixed(1)} s`,
  );
  process.exitCode = byKind.size === 0 ? 0 : 1;
}
