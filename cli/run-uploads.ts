import { ClientError, isClientError } from '../client/errors.ts';
import type { UploadOptions, UploadResult } from '../client/options.ts';
import type { ResumeStore } from '../client/resume-store.ts';
import type { CommandContext } from './client-command.ts';
import { describeError, describeRetry, errorJson } from './console.ts';
import { EXIT, exitCodeOf, exitCodeOfAll } from './exit-codes.ts';
import { printable } from './progress-board.ts';
import { formatBytes, formatDuration, formatRate } from './quantities.ts';
import { shellWord } from './shell-word.ts';
import { matching } from './unfinished.ts';

/** One upload of a command. */
export interface UploadJob {
  /** What it is called in messages. */
  name: string;
  /** Undefined: not known yet. */
  size: number | undefined;
  /** Undefined: no file, so that no other run can go on with it. */
  path: string | undefined;
  run(reports: UploadReports): Promise<UploadResult>;
}

/** What a job passes on to the library. */
export type UploadReports = Pick<
  UploadOptions,
  'onProgress' | 'onRetry' | 'onResumed' | 'onPhase' | 'onFallback'
>;

/** Small ones go side by side; a large one, which has its own requests at the same time, goes alone. */
const SIDE_BY_SIDE = 4;
const SMALL_BYTES = 64 * 1000 ** 2;

interface Outcome {
  job: UploadJob;
  result?: UploadResult;
  error?: unknown;
  /** It failed, and is remembered. */
  isResumable: boolean;
}

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

  const exitCode = exitCodeOfAll(outcomes.map(({ result, error }) => (result ? EXIT.ok : exitCodeOf(error))));
  if (jobs.length > 1) console.note(summaryOf(outcomes));
  if (context.signal.aborted) console.failure('Interrupted.');
  const unfinished = outcomes.filter(({ isResumable }) => isResumable);
  if (unfinished.length > 0) {
    const commands = unfinished.map(({ job }) => `\n  landfall resume ${shellWord(job.path ?? '')}`);
    console.failure(`What arrived is kept. To go on:${commands.join('')}`);
  }
  console.json({ uploads: outcomes.map(outcomeJson), exitCode });
  return exitCode;
}

async function runOne(context: CommandContext, job: UploadJob): Promise<Outcome> {
  const { console, signal, store } = context;
  if (signal.aborted) {
    return { job, error: new ClientError('aborted', 'interrupted before it began'), isResumable: false };
  }
  const { marks, paint } = console;
  const name = printable(job.name);
  const line = console.board.add(job.name);
  try {
    const result = await job.run({
      onProgress: (progress) => line.update(progress),
      onRetry: (retry) => line.note(describeRetry(retry)),
      onPhase: (phase) =>
        line.note(phase === 'joining' ? 'the server puts the parts together' : 'the server verifies it'),
      onFallback: (reason) =>
        console.note(
          `${name}: goes through the server, not straight to the bucket: ${describeError(reason)}`,
        ),
      onResumed: (bytes) => {
        console.note(
          bytes > 0
            ? `${name}: goes on at ${formatBytes(bytes)}`
            : `${name}: the server has nothing of it any more: it starts from the beginning`,
        );
      },
    });
    line.remove();
    const speed = result.bytesPerSecond > 0 ? `, ${formatRate(result.bytesPerSecond)}` : '';
    const verified = result.sha256 === undefined ? '' : `  sha256 ${result.sha256}`;
    console.line(
      `${paint('green', marks.done)} ${name}  ${formatBytes(result.size)} in ${formatDuration(result.durationMs)}${paint('dim', speed)}${verified}\n  ${result.url}`,
    );
    return { job, result, isResumable: false };
  } catch (error) {
    line.remove();
    if (!isClientError(error, 'aborted')) {
      console.failure(`${paint('red', marks.failed)} ${name}: ${describeError(error)}`);
    }
    return { job, error, isResumable: await isRemembered(store, job, error) };
  }
}

/** Somebody else's run of it is not ours to go on with. */
async function isRemembered(store: ResumeStore, { path }: UploadJob, error: unknown): Promise<boolean> {
  if (path === undefined || isClientError(error, 'in_use')) return false;
  return (await matching(await store.list(), path)).length > 0;
}

function summaryOf(outcomes: readonly Outcome[]): string {
  const results = outcomes.flatMap(({ result }) => result ?? []);
  const bytes = results.reduce((sum, { size }) => sum + size, 0);
  const failed = outcomes.length - results.length;
  return `${results.length} of ${outcomes.length} uploaded, ${formatBytes(bytes)}${failed === 0 ? '' : `; ${failed} not`}`;
}

function outcomeJson({ job, result, error, isResumable }: Outcome): Record<string, unknown> {
  if (result === undefined) return { file: job.name, ok: false, error: errorJson(error), isResumable };
  return { file: job.name, ok: true, ...result, sha256: result.sha256 ?? null };
}
