import { StoreError } from '../errors.ts';

/**
 * Whatever Redis or the way to it failed with, as a StoreError. ioredis hangs the command with all its arguments on
 * its errors (a password, for AUTH): the cause is a copy without it.
 */
export function unavailable(error: unknown): StoreError {
  const cause = withoutCommand(error);
  return new StoreError('store_unavailable', `Redis cannot serve us now: ${cause.message}`, { cause });
}

/** The error's words and code, and nothing that was sent. */
export function withoutCommand(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const copy: Error & { code?: unknown } = new Error(error.message || error.name);
  copy.name = error.name;
  if ('code' in error) copy.code = error.code;
  return copy;
}
