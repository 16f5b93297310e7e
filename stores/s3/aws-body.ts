import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import type { PartBody } from './port.ts';

/** Lets this client send bytes without a SHA-256 in the signature. */
export function leavePayloadUnsigned(client: S3Client): void {
  client.middlewareStack.add(
    (next, context) => (args) => {
      if (context.commandName === 'PutObjectCommand' || context.commandName === 'UploadPartCommand') {
        const { headers } = args.request as { headers: Record<string, string> };
        headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
      }
      return next(args);
    },
    { step: 'build', name: 'unsignedPayload' },
  );
}

/** Larger bodies than this are worth a stream. */
const PIECE_BYTES = 256 * 1024;

/**
 * Bytes as the SDK sends them in one piece, or a stream of known length. Under TLS a large piece would stand in memory
 * twice, in the clear and encrypted, and the buffer budget knows only of the first: it goes out bit by bit. A body
 * that has to be signed is needed as a whole, or the SDK would gather it again.
 */
export function sendable(
  body: PartBody,
  isUnsigned: boolean,
): { Body: Buffer | Readable; ContentLength: number } {
  if (!Buffer.isBuffer(body)) return { Body: body.open(), ContentLength: body.length };
  const isLarge = body.length > PIECE_BYTES;
  return { Body: isUnsigned && isLarge ? inPieces(body) : body, ContentLength: body.length };
}

function inPieces(bytes: Buffer): Readable {
  let offset = 0;
  return new Readable({
    highWaterMark: PIECE_BYTES,
    read() {
      if (offset >= bytes.length) {
        this.push(null);
        return;
      }
      this.push(bytes.subarray(offset, offset + PIECE_BYTES));
      offset += PIECE_BYTES;
    },
  });
}
