import { createSHA256 } from 'hash-wasm';

const PIECE_BYTES = 4 * 1024 * 1024;

/** The SHA-256 of a file as lower-case hex, read piece by piece: no more than 4 MiB of it are in memory. */
export async function hashBlob(blob: Blob, isWanted: () => boolean = () => true): Promise<string> {
  const sha256 = await createSHA256();
  for (let start = 0; start < blob.size && isWanted(); start += PIECE_BYTES) {
    sha256.update(new Uint8Array(await blob.slice(start, start + PIECE_BYTES).arrayBuffer()));
  }
  return sha256.digest('hex');
}
