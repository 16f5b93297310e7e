import { randomBytes } from 'node:crypto';

/** 191 random bits, base64url: the id is the capability to write to the upload. */
const ID_BYTES = 24;

/** Ids that we make, or that an operator's hook may set: never a dot or a slash, so no id can name a sidecar. */
const ID_GRAMMAR = /^[A-Za-z0-9_-]{22,128}$/;

export function newUploadId(random: (size: number) => Buffer = randomBytes): string {
  return uploadIdOf(random(ID_BYTES));
}

/** The id that stands for these bytes, all but their first bit. */
export function uploadIdOf(secret: Buffer): string {
  const bytes = Buffer.from(secret);
  // So that it begins with a letter: after a `-`, a command line would take it for an option.
  bytes.writeUInt8(bytes.readUInt8(0) & 0x7f, 0);
  return bytes.toString('base64url');
}

export function isUploadId(value: string): boolean {
  return ID_GRAMMAR.test(value);
}
