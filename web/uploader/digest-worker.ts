import { hashBlob } from './hash-blob.ts';

/* Runs in a Web Worker: takes a Blob, answers with its SHA-256 in hex, or with why it could not be read. */

export type DigestAnswer = { sha256: string } | { failure: string };

addEventListener('message', ({ data }: MessageEvent<Blob>) => {
  hashBlob(data).then(
    (sha256) => postMessage({ sha256 } satisfies DigestAnswer),
    (error: unknown) => postMessage({ failure: String(error) } satisfies DigestAnswer),
  );
});
