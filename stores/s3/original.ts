import { StoreError } from '../errors.ts';
import type { OriginalReader } from '../types.ts';
import type { StoreContext } from './context.ts';
import { createObjectReader } from './object-reader.ts';
import { headOriginal } from './state.ts';

/** Opens a finished original: one HEAD now, one ranged GET per `send`. */
export async function openStoredOriginal(context: StoreContext, id: string): Promise<OriginalReader> {
  const head = await headOriginal(context, id);
  if (head === undefined) throw new StoreError('upload_not_found', 'there is no finished original');
  const etag = head.etag.replace(/^W\//, '').replaceAll('"', '') || `${head.size}-${head.modifiedAtMs}`;
  return createObjectReader(context, { key: context.keys.original(id), head, etag, what: 'the original' });
}
