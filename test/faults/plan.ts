import { type Random, randomBytesOf, sha256Hex } from './random.ts';

/** What one client wants to store, and how it goes about it. */
export interface UploadPlan {
  content: Buffer;
  sha256: string;
  metadata: string;
  hasDeferredLength: boolean;
  sendsDataOnCreation: boolean;
  /** Most bytes of one PATCH; Infinity: all that is left. */
  requestBytes: number;
  /** Bodies without Content-Length. */
  isChunked: boolean;
  /** Some clients end with an empty PATCH (tus-java-client), or declare a deferred length with one. */
  endsWithEmptyPatch: boolean;
  /** Faults that this client suffers or causes; then it is left in peace, so that it ends. */
  faults: number;
  /** Deletes the upload when it has got this far. */
  deletesAtByte: number | undefined;
  /** Requests have `Upload-Checksum`, and some bodies are not what it says. */
  hasChecksums: boolean;
  /** Upload-Concat: `partial`, or a final upload of others, which takes no bytes. */
  concat?: string;
}

const MIB = 1024 * 1024;

export function planUpload(random: Random, seed: string): UploadPlan {
  const size = random.weighted<() => number>([
    [4, () => 0],
    [8, () => random.skewedInt(1, 65_536)],
    [4, () => random.pick([1, 255, 65_535, 65_536, 65_537, 262_144, MIB, 4 * MIB, 8 * MIB])],
    [70, () => random.int(MIB, 8 * MIB)],
    [9, () => random.int(8 * MIB, 16 * MIB)],
    [5, () => random.int(16 * MIB, 30 * MIB)],
  ])();
  const content = randomBytesOf(seed, size);
  const sha256 = sha256Hex(content);
  const pairs = [`filename ${base64(`überraschung ${seed}.bin`)}`];
  if (random.chance(0.3)) pairs.push(`checksum ${base64(`sha256 ${sha256}`)}`);
  return {
    content,
    sha256,
    metadata: pairs.join(','),
    hasDeferredLength: random.chance(0.2),
    // Small uploads that come whole go a way of their own.
    sendsDataOnCreation: random.chance(size <= 256 * 1024 ? 0.7 : 0.3),
    requestBytes: random.weighted([
      [5, Number.POSITIVE_INFINITY],
      [3, Math.max(1, random.int(Math.ceil(size / 12), Math.ceil(size / 2)))],
      [2, Math.max(1, Math.min(MIB, Math.ceil(size / 3)))],
    ]),
    isChunked: random.chance(0.25),
    endsWithEmptyPatch: random.chance(0.15),
    faults: random.int(2, 7),
    deletesAtByte: random.chance(0.06) ? random.int(0, size) : undefined,
    hasChecksums: random.chance(0.3),
  };
}

/** One write of a client: single bytes at times, mostly what a network stack would give. */
export function nextWriteBytes(random: Random): () => number {
  const largest = random.pick([1_000, 16_384, 65_536, 300_000, 2_000_000]);
  return () => random.skewedInt(1, largest);
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
