import { createHmac, randomBytes } from 'node:crypto';

const ID_GRAMMAR = /^imported-[A-Za-z0-9_-]{32}$/;
const ID_BYTES = 24;

/**
 * The id of an imported upload: 192 bits that only who has the secret can compute, the same for the same source. It
 * shows what it is: of any other upload nobody has to look where its bytes are.
 */
export function importedId(secret: string, source: string): string {
  const hash = createHmac('sha256', secret).update(source).digest();
  return `imported-${hash.subarray(0, ID_BYTES).toString('base64url')}`;
}

export function isImportedId(id: string): boolean {
  return ID_GRAMMAR.test(id);
}

export function newImportSecret(): string {
  return randomBytes(32).toString('base64url');
}

/** Upload-Metadata of an imported upload. */
export function importedMetadata(name: string, contentType: string | undefined): string {
  const filename = name.slice(name.lastIndexOf('/') + 1) || name;
  const pairs = {
    filename,
    ...(contentType === undefined ? {} : { filetype: contentType }),
    importedFrom: name,
  };
  return Object.entries(pairs)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
    .join(',');
}
