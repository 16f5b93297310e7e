import { describe, expect, it } from 'vitest';
import type { GridRules } from '../../stores/s3/rules.ts';
import { simulate } from './simulate.ts';
import type { Weather } from './world.ts';

/*
 * A simulation that never fails proves nothing: with a rule switched off it must. Each row names the rule, the
 * weather in which it matters most and, where a thousand histories may pass before one shows it, one that does: the
 * search begins there, and is long only after a change to the store. Not here, because something else makes up for them:
 * - checkBeforeComplete: completion is only tried at offset = length, which counts nothing but parts of exact size.
 * - relistOnInvalidPart: the next HEAD lists the parts anyway; the rule saves the client that round.
 * - abortBeforeDelete: an object that a late completion made is deleted again by the tombstone's sweep.
 * - hashInTailName: matters only for a client that sends other bytes after a resume; these clients are honest.
 * - exactPartSize and rereadLength each cover for the other: they are switched off together.
 */
const MUTATIONS: [rules: (keyof GridRules)[], weather: Partial<Weather>, firstSeed?: number][] = [
  [['tailsFirst'], { storm: true, slow: true, deletes: false, expires: false, faultProbability: 0.06 }, 152],
  [['storeBeforeDelete'], {}],
  [['exactPartSize', 'rereadLength'], { deferredLength: true, deletes: false, expires: false }, 381],
  [['cacheConfirmsOnly'], {}],
  [
    ['cacheNeedsLength'],
    { deferredLength: true, redisRestores: true, deletes: false, expires: false, storm: false },
    1010,
  ],
  [['dropBeyondHole'], { faultProbability: 0.15, crowded: false, storm: false, mixedPartSizes: false }, 1260],
  [['conditionalInfo'], { mixedPartSizes: true }],
  [['gridSetOnce'], { mixedPartSizes: true }],
  [['abortOnlyDefiniteLoss'], { faultProbability: 0.15 }],
  [['materialiseTail'], { deferredLength: true }],
  [['markFinishing'], { expires: true }],
  [['headAfterComplete'], { faultProbability: 0.15, slowCompletion: true }],
  [['recheckMissing'], { slowCompletion: true }],
  [['tombstone'], { deletes: true }],
  [['conditionalExpiry'], { expires: true }],
  [['lostLockIsFinal'], { deletes: true }, 1056],
];
const SEEDS = 4000;

describe('the simulation notices when a rule is switched off', () => {
  it.each(MUTATIONS)('%s', { timeout: 240_000 }, async (names, weather, firstSeed = 1) => {
    const rules = Object.fromEntries(names.map((name) => [name, false]));
    let caught: string | undefined;
    for (let count = 0; count < SEEDS && caught === undefined; count += 1) {
      const seed = 1 + ((firstSeed - 1 + count) % SEEDS);
      caught = (await simulate({ seed, rules, weather })).violation?.message;
    }
    expect(caught).toBeDefined();
  });
});
