import type { BufferBudget, Reservation } from '../buffer-budget.ts';
import type { Environment } from '../environment.ts';
import type { VerifiedAppend } from '../verified-body.ts';
import type { PartSizeLimits } from './grid.ts';
import type { InfoObjects } from './info.ts';
import type { UploadKeys } from './keys.ts';
import type { PartBuffer } from './part-buffer.ts';
import type { PartListCache } from './part-list-cache.ts';
import type { S3Port } from './port.ts';
import type { RetryPolicy } from './retry.ts';
import type { GridRules } from './rules.ts';
import type { TailMemory } from './tail-memory.ts';

/** Everything that the store's modules share; made once, by `grid-store.ts`. */
export interface StoreContext {
  s3: S3Port;
  keys: UploadKeys;
  infos: InfoObjects;
  cache: PartListCache;
  environment: Environment;
  tailMemory: TailMemory;
  /** The budget for parts of this size: memory, or the spool for those that are too large for that. */
  budgetFor(partSize: number): BufferBudget;
  /** A buffer that `reservation` of that budget pays for. */
  createBuffer(partSize: number, reservation: Reservation): PartBuffer;
  /** Gathers a body with a checksum, and lets it through when it is right. */
  appendVerified: VerifiedAppend;
  rules: GridRules;
  retry: RetryPolicy;
  partSizeLimits: PartSizeLimits;
  /** Parts of one upload that may be on their way at the same time. */
  partsInFlight: number;
  /** Lifetime of an unfinished upload after its last request; 0: for ever. */
  expirationMs: number;
  /** How far the clocks of two processes may be apart. */
  clockSkewMs: number;
  /** How long a tombstone stays: longer than any call of ours can take to land. */
  tombstoneMs: number;
  /** Covered tails that may lie around before they are deleted together. */
  deadTailsKept: number;
}
