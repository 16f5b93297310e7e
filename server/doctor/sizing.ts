import { totalmem } from 'node:os';
import { MAX_OBJECT_BYTES } from '../../stores/s3/grid.ts';
import { PROVIDER_PROFILES } from '../../stores/s3/providers.ts';
import type { Config } from '../config.ts';
import { type Check, type Finding, fail, ok, warn } from './types.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
/** The store gathers a part in memory while so many of them fit into the budget. */
const PARTS_IN_BUDGET = 4;
/** What a process needs besides its buffers. */
const PROCESS_BYTES = 150 * MIB;

/** The part size against the number of parts, and the budgets against what the machine has. */
export function sizingCheck(config: Config, memoryBytes = availableMemoryBytes()): Check {
  return { name: 'sizes', run: async () => [...judgeParts(config), ...judgeMemory(config, memoryBytes)] };
}

function judgeParts({ s3, bufferBudgetBytes, spoolBudgetBytes, maxSizeBytes }: Config): Finding[] {
  if (s3 === undefined) return [];
  const { maxParts } = PROVIDER_PROFILES[s3.provider];
  const inMemory = Math.floor(bufferBudgetBytes / PARTS_IN_BUDGET);
  const largest = Math.min(maxSizeBytes ?? MAX_OBJECT_BYTES, MAX_OBJECT_BYTES);
  const neededPart = Math.max(s3.partSizeBytes, Math.ceil(largest / maxParts / MIB) * MIB);
  const deferred = Math.min(s3.partSizeBytes * maxParts, MAX_OBJECT_BYTES);
  const says = `Parts of ${show(s3.partSizeBytes)}: uploads whose length comes late may have ${show(deferred)}`;
  if (neededPart > Math.max(inMemory, spoolBudgetBytes)) {
    return [
      fail(
        `Uploads of ${show(largest)}${maxSizeBytes === undefined ? ' (there is no LANDFALL_MAX_SIZE)' : ''} need parts of ${show(neededPart)}, which fit neither into a quarter of LANDFALL_BUFFER_BUDGET nor into LANDFALL_SPOOL_BUDGET: they would be refused.`,
        `Set LANDFALL_SPOOL_BUDGET to at least ${show(neededPart)}, or LANDFALL_MAX_SIZE to at most ${show(Math.max(inMemory, spoolBudgetBytes) * maxParts)}.`,
      ),
    ];
  }
  if (s3.partSizeBytes > inMemory) {
    return [
      warn(
        `${says}. They are larger than a quarter of LANDFALL_BUFFER_BUDGET (${show(inMemory)}), so every upload goes over the disk (LANDFALL_SPOOL_DIR).`,
        `Set LANDFALL_S3_PART_SIZE to at most ${show(inMemory)}, or LANDFALL_BUFFER_BUDGET to at least ${show(PARTS_IN_BUDGET * s3.partSizeBytes)}.`,
      ),
    ];
  }
  const byDisk = neededPart > inMemory ? `, those over ${show(inMemory * maxParts)} over the disk` : '';
  return [ok(`${says}, others ${show(largest)} (by larger parts${byDisk}).`)];
}

function judgeMemory({ processes, bufferBudgetBytes, s3 }: Config, memoryBytes: number): Finding[] {
  if (s3 === undefined) return [];
  const needed = processes * (bufferBudgetBytes + PROCESS_BYTES);
  const says = `${processes === 1 ? 'One process' : `${processes} processes`} with ${show(bufferBudgetBytes)} of buffers need about ${show(needed)} of ${show(memoryBytes)} memory`;
  if (needed > memoryBytes) {
    return [fail(`${says}.`, 'Lower LANDFALL_BUFFER_BUDGET or LANDFALL_PROCESSES, or give it more memory.')];
  }
  if (needed > memoryBytes * 0.7) {
    return [
      warn(
        `${says}: little is left for anything else.`,
        'Lower LANDFALL_BUFFER_BUDGET or LANDFALL_PROCESSES.',
      ),
    ];
  }
  return [ok(`${says}.`)];
}

/** Of this machine, or of the container where that is less. */
function availableMemoryBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** Rounded to what a person would say; never more than it is. */
function show(bytes: number): string {
  const [unit, name] = bytes >= 1024 * GIB ? [1024 * GIB, 'TiB'] : bytes >= GIB ? [GIB, 'GiB'] : [MIB, 'MiB'];
  return `${Math.floor((bytes / unit) * 10) / 10} ${name}`;
}
