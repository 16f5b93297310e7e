import type { Random } from './random.ts';

export type KillSignal = 'SIGKILL' | 'SIGTERM';

export interface StartOptions {
  /** Kills the process while it starts: `start` then rejects. */
  signal?: AbortSignal;
  env?: Record<string, string>;
}

/**
 * What a campaign runs against: one process over files, or several over a bucket behind a proxy. The scenario knows
 * nothing of either; it speaks HTTP and kills.
 */
export interface Topology {
  readonly processCount: number;
  /** Calls of the servers fail on purpose: errors in their logs prove nothing. */
  readonly hasFailingCalls: boolean;
  /** `http://127.0.0.1:port` of the process or the proxy; the same after every restart. */
  readonly origin: string;
  /** Resolves when process `index` takes requests. */
  start(index: number, options?: StartOptions): Promise<void>;
  /** Sends the signal at once; resolves with the exit code when the process is gone (null: the signal ended it). */
  kill(index: number, signal: KillSignal): Promise<number | null>;
  /** False from the moment on in which a signal was sent, or the process ended by itself. */
  isUp(index: number): boolean;
  /** Deletes something that may be lost at any time (an index, a cache), while nothing runs. Says what it was. */
  loseIndex(random: Random): Promise<string>;
  /** Names of everything that is stored and belongs neither to these uploads nor to the server itself. */
  leftovers(uploadIds: ReadonlySet<string>): Promise<string[]>;
  /** Names of what is stored as previews of an upload, its manifest among them. */
  storedPreviews(uploadId: string): Promise<string[]>;
  /** Everything that all processes wrote so far. */
  output(): string;
  /** Ends all processes and removes what they stored. */
  dispose(): Promise<void>;
}

/** @param env settings that all of its processes have beside its own */
export type CreateTopology = (env?: Record<string, string>) => Promise<Topology>;
