import { ClientError, isClientError } from '../client/errors.ts';
import type { UploadOptions, UploadResult } from '../client/options.ts';
import type { CommandContext } from './client-command.ts';
import { describeError, errorJson } from './console.ts';
import { EXIT, exitCodeOf, exitCodeOfAll } from './exit-codes.ts';
import { printable } from './progress-board.ts';
import { formatBytes, formatDuration, formatRate } from './quantities.ts';

/** One upload of a command. */
export interface UploadJob {
  /** What it is called in messages. */
  name: string;
  /** Undefined: not known yet. */
  size: number | undefined;
  /** How to go on with it in another run; undefined: that cannot be. */
  resumeCommand: string | undefined;
  run(reports: UploadReports): Promise<UploadResult>;
}

/** What a job passes on to the library. */
export type UploadReports = Pick<UploadOptions, 'onProgress' | 'onRetry' | 'onResumed'>;

/** Small ones go side by side; a large one, which has its own requests at the same time, goes alone. */
const SIDE_BY_SIDE = 4;
const SMALL_BYTES = 64 * 1000 ** 2;

type Outcome = { job: UploadJob; result: UploadResult } | { job: UploadJob; error: unknown };

/** Runs uploads, shows how far they are, and says what became of each. Resolves with the exit code. */
export async function runUploads(context: CommandContext, jobs: readonly UploadJob[]): Promise<number> {
  const { console } = context;
  const outcomes: Outcome[] = new Array(jobs.length);
  const runAt = async (index: number) => {
    outcomes[index] = await runOne(context, jobs[index] as UploadJob);
  };
  const isSmall = ({ size }: UploadJob) => size !== undefined && size < SMALL_BYTES;
  const small = jobs.flatMap((job, index) => (isSmall(job) ? [index] : []));
  const large = jobs.flatMap((job, index) => (isSmall(job) ? [] : [index]));
  const waiting = small.values();
  await Promise.all(
    Array.from({ length: SIDE_BY_SIDE }, async () => {
      for (const index of waiting) await runAt(index);
    }),
  );
  for (const index of large) await runAt(index);

  const exitCode = exitCodeOfAll(
    outcomes.map((outcome) => ('error' in outcome ? exitCodeOf(outcome.error) : EXIT.ok)),
  );
  if (jobs.length > 1) console.note(summaryOf(outcomes));
  explainHowToGoOn(context, outcomes);
  console.json({ uploads: outcomes.map(outcomeJson), exitCode });
  return exitCode;
}

async function runOne({ console, signal }: CommandContext, job: UploadJob): Promise<Outcome> {
  if (signal.aborted) return { job, error: new ClientError('aborted', 'interrupted before it began') };
  const { marks, paint } = console;
  const name = printable(job.name);
  const line = console.board.add(job.name);
  try {
    const result = await job.run({
      onProgress: (progress) => line.update(progress),
      onRetry: ({ error, delayMs }) =>
        line.note(`${describeError(error)}; again in ${formatDuration(delayMs)}`),
      onResumed: (bytes) => {
        console.note(
          bytes > 0
            ? `${name}: goes on at ${formatBytes(bytes)}`
            : `${name}: the server has nothing of it any more: it starts from the beginning`,
        );
      },
    });
    line.remove();
    const speed =
      result.durationMs > 0 && result.sentBytes > 0
        ? `, ${formatRate((result.sentBytes / result.durationMs) * 1000)}`
        : '';
    const verified = result.sha256 === undefined ? '' : `  sha256 ${result.sha256}`;
    console.line(
      `${paint('green', marks.done)} ${name}  ${formatBytes(result.size)} in ${formatDuration(result.durationMs)}${paint('dim', speed)}${verified}\n  ${result.url}`,
    );
    return { job, result };
  } catch (error) {
    line.remove();
    if (!isClientError(error, 'aborted')) {
      console.failure(`${paint('red', marks.failed)} ${name}: ${describeError(error)}`);
    }
    return { job, error };
  }
}

function explainHowToGoOn({ console, signal }: CommandContext, outcomes: readonly Outcome[]): void {
  const unfinished = outcomes.filter((outcome) => 'error' in outcome && isResumable(outcome));
  const commands = unfinished.map(({ job }) => job.resumeCommand).filter((command) => command !== undefined);
  if (commands.length > 0) {
    console.failure(
      `${signal.aborted ? 'Interrupted. ' : ''}What arrived is kept. To go on:\n${commands.map((command) => `  ${command}`).join('\n')}`,
    );
  } else if (signal.aborted) {
    console.failure('Interrupted.');
  }
}

function isResumable(outcome: Outcome): boolean {
  if (!('error' in outcome) || outcome.job.resumeCommand === undefined) return false;
  const { error } = outcome;
  return (
    isClientError(error, 'aborted') ||
    isClientError(error, 'network') ||
    (error instanceof ClientError && error.isRetryable)
  );
}

function summaryOf(outcomes: readonly Outcome[]): string {
  const done = outcomes.filter((outcome) => 'result' in outcome);
  const bytes = done.reduce((sum, { result }) => sum + result.size, 0);
  const failed = outcomes.length - done.length;
  return `${done.length} of ${outcomes.length} uploaded, ${formatBytes(bytes)}${failed === 0 ? '' : `; ${failed} not`}`;
}

function outcomeJson(outcome: Outcome): Record<string, unknown> {
  const { job } = outcome;
  if ('error' in outcome) {
    return { file: job.name, ok: false, error: errorJson(outcome.error), isResumable: isResumable(outcome) };
  }
  const { sha256, ...result } = outcome.result;
  return { file: job.name, ok: true, ...result, sha256: sha256 ?? null };
}
