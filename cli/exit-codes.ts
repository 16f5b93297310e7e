import { ClientError, type ClientErrorCode } from '../client/errors.ts';

/** What the program's exit code says. docs/cli.md has the same table. */
export const EXIT = {
  ok: 0,
  /** It failed, and the same command may not help. */
  failed: 1,
  /** The command line is wrong; nothing was done. */
  usage: 2,
  /** Of several files some succeeded and some failed. */
  partlyFailed: 3,
  /** The server could not be reached, or not for long enough: what is unfinished can be resumed. */
  unreachable: 4,
  /** The bytes are wrong: rejected by the server, or another SHA-256 after a download. */
  corrupt: 5,
  /** There is no such upload. */
  notFound: 6,
  /** The server's own configuration is wrong (serve, doctor, config, import). */
  config: 78,
  /** 128 and the number of the signal. */
  interrupted: 130,
  terminated: 143,
} as const;

const BY_CODE: Partial<Record<ClientErrorCode, number>> = {
  network: EXIT.unreachable,
  rejected: EXIT.corrupt,
  digest_mismatch: EXIT.corrupt,
  upload_gone: EXIT.notFound,
  not_remembered: EXIT.notFound,
  aborted: EXIT.interrupted,
};

/** A command line that cannot be carried out. */
export class UsageError extends Error {
  override name = 'UsageError';
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof RangeError) return EXIT.usage;
  if (!(error instanceof ClientError)) return EXIT.failed;
  if (error.status !== undefined && error.status >= 500) return EXIT.unreachable;
  return BY_CODE[error.code] ?? EXIT.failed;
}

/** The exit code of several things of which each has one. */
export function exitCodeOfAll(codes: readonly number[]): number {
  const failures = codes.filter((code) => code !== EXIT.ok);
  if (failures.length === 0) return EXIT.ok;
  const [first = EXIT.failed] = failures;
  if (failures.includes(EXIT.interrupted)) return EXIT.interrupted;
  if (failures.length < codes.length) return EXIT.partlyFailed;
  return failures.every((code) => code === first) ? first : EXIT.failed;
}
