import { StoreError } from '../errors.ts';
import type { OriginalReader } from '../types.ts';
import type { StoreContext } from './context.ts';
import { assertUnchanged, locateOriginal } from './imported.ts';
import { createObjectReader, headIfExists } from './object-reader.ts';

/** Opens a finished original: one HEAD now, one ranged GET per `send`. */
export async function openStoredOriginal(context: StoreContext, id: string): Promise<OriginalReader> {
  const { key, imported } = await locateOriginal(context, id);
  const head = await headIfExists(context, key, 'the original');
  if (head === undefined) throw new StoreError('upload_not_found', 'there is no finished original');
  assertUnchanged(imported, head);
  const etag = head.etag.replace(/^W\//, '').replaceAll('"', '') || `${head.size}-${head.modifiedAtMs}`;
  return createObjectReader(context, { key, head, etag, what: 'the original' });
}
