import type { IncomingMessage } from 'node:http';
import { newUploadId } from '../../stores/upload-id.ts';
import type { TusdHooks } from '../tusd-hooks/tusd-hooks.ts';
import type { NewUpload } from './create-upload.ts';

export interface PlannedUpload<Fields> {
  id: string;
  fields: Fields;
}

type Plannable = Pick<NewUpload, 'size' | 'rawMetadata' | 'concat' | 'isIdChosen'> & {
  partialIds?: readonly string[];
};

/**
 * What every creation begins with, whatever protocol asks for it: the hooks' say, where there are any, and an id.
 * Nothing is made or locked yet.
 *
 * @throws HttpError upload_refused, hook_failed
 */
export async function planUpload<Fields extends Plannable>(
  { hooks }: { hooks: TusdHooks | undefined },
  raw: IncomingMessage,
  fields: Fields,
  id = newUploadId(),
): Promise<PlannedUpload<Fields>> {
  if (hooks === undefined) return { id, fields };
  const { size, rawMetadata, concat, partialIds } = fields;
  const changes = await hooks.of(raw).preCreate({ size, rawMetadata, concat, partialIds });
  const changed = { ...fields, isIdChosen: changes.id !== undefined };
  if (changes.metadata !== undefined) changed.rawMetadata = changes.metadata.raw;
  return { id: changes.id ?? id, fields: changed };
}
