import { describe, expect, it } from 'vitest';
import type { GridRules } from '../../stores/s3/rules.ts';
import { simulate } from './simulate.ts';
import type { Weather } from './world.ts';

/*
 * A simulation that never fails proves nothing: with a rule switched off it must. Each row names the rule, and the
 * weather in which it matters most. Not here, because something else makes up for them:
 * - checkBeforeComplete: completion is only tried at offset = length, which counts nothing but parts of exact size.
 * - relistOnInvalidPart: the next HEAD lists the parts anyway; the rule saves the client that round.
 * - abortBeforeDelete: an object that a late completion made is deleted again by the tombstone's sweep.
 * - hashInTailName: matters only for a client that sends other bytes after a resume; these clients are honest.
 * - exactPartSize and rereadLength each cover for the other: they are switched off together.
 */
const MUTATIONS: [rules: (keyof GridRules)[], weather: Partial<Weather>][] = [
  [['tailsFirst'], { storm: true, slow: true, deletes: false, expires: false, faultProbability: 0.06 }],
  [['storeBeforeDelete'], {}],
  [['exactPartSize', 'rereadLength'], { deferredLength: true, deletes: false, expires: false }],
  [['cacheConfirmsOnly'], {}],
  [
    ['cacheNeedsLength'],
    { deferredLength: true, redisRestores: true, deletes: false, expires: false, storm: false },
  ],
  [['dropBeyondHole'], { faultProbability: 0.15, crowded: false, storm: false, mixedPartSizes: false }],
  [['conditionalInfo'], { mixedPartSizes: true }],
  [['gridSetOnce'], { mixedPartSizes: true }],
  [['abortOnlyDefiniteLoss'], { faultProbability: 0.15 }],
  [['materialiseTail'], { deferredLength: true }],
  [['markFinishing'], { expires: true }],
  [['headAfterComplete'], { faultProbability: 0.15, slowCompletion: true }],
  [['recheckMissing'], { slowCompletion: true }],
  [['tombstone'], { deletes: true }],
  [['conditionalExpiry'], { expires: true }],
  [['lostLockIsFinal'], { deletes: true }],
];
const MOST_SEEDS = 4000;

describe('the simulation notices when a rule is switched off', () => {
  it.each(MUTATIONS)('%s', { timeout: 240_000 }, async (names, weather) => {
    const rules = Object.fromEntries(names.map((name) => [name, false]));
    let caught: string | undefined;
    for (let seed = 1; seed <= MOST_SEEDS && caught === undefined; seed += 1) {
      caught = (await simulate({ seed, rules, weather })).violation?.message;
    }
    expect(caught).toBeDefined();
  });
});
