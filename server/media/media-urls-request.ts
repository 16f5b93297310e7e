import { isPreviewName } from '../../stores/previews/names.ts';
import { isUploadId } from '../../stores/upload-id.ts';
import { HttpError } from '../errors.ts';
import { type MediaAddress, type MediaFields, parseMediaFields } from './media-address.ts';

const MAX_ITEMS = 1000;

/**
 * The body of `POST /media/urls`: `{items: [{id, variant, page, mode} or {id, name, mode}]}`, or `{ids}` with one
 * `variant`, `page` and `mode` for all of them.
 *
 * @throws HttpError invalid_request, naming the item
 */
export function parseUrlsRequest(body: unknown): MediaAddress[] {
  const { ids, items, ...shared } = objectOf(body, 'The body');
  if ((ids === undefined) === (items === undefined)) throw invalid('Exactly one of ids and items is needed.');
  const list = ids ?? items;
  const name = ids === undefined ? 'items' : 'ids';
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_ITEMS) {
    throw invalid(`${name} must be a list of 1 to ${MAX_ITEMS}.`);
  }
  return list.map((item: unknown, index) => {
    const place = `${name}[${index}]`;
    return parseItem(ids === undefined ? objectOf(item, place) : { ...shared, id: item }, place);
  });
}

function parseItem(item: Record<string, unknown>, place: string): MediaAddress {
  const { id, name, ...rest } = item;
  if (typeof id !== 'string' || !isUploadId(id)) throw invalid(`${place} has no valid id.`);
  if (name !== undefined && (typeof name !== 'string' || !isPreviewName(name))) {
    throw invalid(`${place} has no valid name.`);
  }
  return { id, name, ...parseFields(rest, place) };
}

function parseFields(fields: MediaFields, place: string) {
  try {
    return parseMediaFields(fields);
  } catch (error) {
    if (error instanceof HttpError) throw invalid(`${place}: ${error.message}`);
    throw error;
  }
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw invalid(`${what} must be a JSON object.`);
}

function invalid(message: string): HttpError {
  return new HttpError('invalid_request', { message });
}
