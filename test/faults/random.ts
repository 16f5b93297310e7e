import { createCipheriv, createHash } from 'node:crypto';

/** A stream of pseudo-random decisions: the same seed gives the same ones. */
export interface Random {
  /** An integer from `min` to `max`, both included. */
  int(min: number, max: number): number;
  /** Like `int`, but every order of magnitude is as likely as any other: most results are small. */
  skewedInt(min: number, max: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
  /** Picks by weight: `[[3, 'often'], [1, 'seldom']]`. */
  weighted<T>(choices: readonly (readonly [number, T])[]): T;
  /** A stream of its own, so that what one actor decides does not depend on how fast another one is. */
  fork(label: string): Random;
}

export function createRandom(seed: string): Random {
  const next = mulberry32(createHash('sha256').update(seed).digest().readUInt32LE(0));
  const random: Random = {
    int: (min, max) => min + Math.floor(next() * (max - min + 1)),
    skewedInt: (min, max) => {
      const low = Math.log(min + 1);
      return Math.min(max, Math.floor(Math.exp(low + next() * (Math.log(max + 2) - low)) - 1));
    },
    chance: (probability) => next() < probability,
    pick: (choices) => random.weighted(choices.map((choice) => [1, choice] as const)),
    weighted: (choices) => {
      let rest = next() * choices.reduce((sum, [weight]) => sum + weight, 0);
      for (const [weight, choice] of choices) {
        rest -= weight;
        if (rest < 0) return choice;
      }
      throw new RangeError('there is nothing to pick from');
    },
    fork: (label) => createRandom(`${seed}/${label}`),
  };
  return random;
}

/** Bytes that do not compress, do not repeat, and are the same for the same seed. */
export function randomBytesOf(seed: string, size: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16)).update(Buffer.alloc(size));
}

export function sha256Hex(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
