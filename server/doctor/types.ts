/** `ok`: nothing to do. `warn`: works, and costs or risks something. `fail`: uploads would be refused or lost. */
export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  level: Level;
  /** What was found, and what follows from it. Whole sentences, no secrets. */
  text: string;
  /** What to change; every `fail` has one. */
  change?: string;
  /** Nothing after it in its group could be told: the group ends here. */
  isFatal?: true;
}

export interface Check {
  /** One or two words, the same in every run: what `--json` is searched for. */
  name: string;
  /** May throw: what it throws becomes a finding. */
  run(): Promise<Finding[]>;
}

/** Checks of one service, in the order in which they make sense. */
export interface CheckGroup {
  title: string;
  checks: readonly Check[];
  /** Removes what the checks made, and hangs up. Returns what could not be removed. */
  close(): Promise<Finding[]>;
}

export const ok = (text: string): Finding => ({ level: 'ok', text });
export const warn = (text: string, change: string): Finding => ({ level: 'warn', text, change });
export const fail = (text: string, change: string): Finding => ({ level: 'fail', text, change });
export const fatal = (text: string, change: string): Finding => ({ ...fail(text, change), isFatal: true });
