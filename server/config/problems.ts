/** sysexits.h EX_CONFIG: tells a supervisor that starting again will not help. */
export const CONFIG_EXIT_CODE = 78;

const MAX_SHOWN_CHARACTERS = 80;

/** One thing that is wrong with the configuration. `value` is safe to print: secrets are already masked. */
export interface ConfigProblem {
  /** The environment name, or `landfall.yaml: key` when the value came from there. */
  name: string;
  /** What was given, quoted and masked; `(not set)` when nothing was. */
  value: string;
  expected: string;
  /** Where to read on: `docs/configuration.md#section`. */
  section: string;
}

/** Everything that is wrong with the configuration, at once. `message` is meant to be printed as it is. */
export class ConfigError extends Error {
  readonly code = 'config_invalid';
  readonly exitCode = CONFIG_EXIT_CODE;
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(renderProblems(problems));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

function renderProblems(problems: readonly ConfigProblem[]): string {
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
  const blocks = problems.map(
    (problem) =>
      `  ${problem.name} = ${problem.value}\n    expected: ${problem.expected}\n    see:      ${problem.section}`,
  );
  return `The configuration has ${count}:\n\n${blocks.join('\n\n')}\n`;
}

export const NOT_SET = '(not set)';

/** A value as it may be printed: secrets only as their length, passwords in addresses masked, long ones cut. */
export function showValue(text: string, isSecret: boolean): string {
  const masked = maskValue(text, isSecret);
  if (isSecret && masked !== text) return masked;
  const shown = masked.length > MAX_SHOWN_CHARACTERS ? `${masked.slice(0, MAX_SHOWN_CHARACTERS)}…` : masked;
  return JSON.stringify(shown);
}

/** A value without what must stay secret: whole, and as it was written. */
export function maskValue(text: string, isSecret: boolean): string {
  if (isSecret && text !== 'none') return `(a secret of ${text.length} characters)`;
  // A mistyped address can carry a password in any setting. Up to the last @, since passwords may contain one.
  return text.replace(/:\/\/[^/\s]*@/g, '://***@');
}

export function sectionLink(section: string): string {
  return `docs/configuration.md#${section}`;
}

/** The known name that was most likely meant, or undefined when none is near. */
export function nearestName(given: string, known: Iterable<string>): string | undefined {
  const wanted = foldName(given);
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 4)) + 1;
  for (const candidate of known) {
    const distance = editDistance(wanted, foldName(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

// `max_size`, `max-size`, `MaxSize` and `LANDFALL_MAX_SIZE` all mean `maxSize`.
function foldName(name: string): string {
  return name
    .toLowerCase()
    .replace(/^landfall_/, '')
    .replace(/[^a-z0-9]/g, '')
    .slice(0, 64);
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current[column] = Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1);
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
