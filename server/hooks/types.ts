import type { UploadPatch, UploadRecord } from '../../stores/catalog/types.ts';
import type { UploadEventType } from '../../stores/events/types.ts';
import type { Rejection } from '../pipeline/rejection.ts';
import type { WorkingCopy } from '../pipeline/working-copy.ts';

/**
 * One step of what happens to an upload after its last byte. It may be run again at any time, after a crash at any
 * instruction or beside another run of itself, and its comment says how that does no harm.
 */
export interface Hook {
  readonly name: string;
  /** Asked right before `run`, with what the hooks before it have found. */
  appliesTo(record: UploadRecord): boolean;
  /**
   * What it throws ends this attempt, and another one follows; a TerminalJobError ends the upload as `failed`. What is
   * wrong with the upload itself is no error but a result.
   */
  run(context: HookContext): Promise<HookResult>;
}

export interface HookContext {
  /** As of now. */
  record: UploadRecord;
  /** By content; null: it cannot be told. */
  mediaType: string | null;
  original: WorkingCopy;
  /** 1 the first time. */
  attempt: number;
  /** When this attempt was begun. */
  startedAtMs: number;
  /** Aborted when this process ends, or somebody else has taken the work over. */
  signal: AbortSignal;
  announce(type: UploadEventType, data?: Readonly<Record<string, unknown>>): Promise<void>;
}

export interface HookResult {
  /** Facts for the record, kept before the next hook runs. */
  patch?: UploadPatch;
  /** The upload may not stay: no other hook runs. */
  rejection?: Rejection;
}
