import { HttpError } from '../errors.ts';

export const MEDIA_VARIANTS = ['thumb', 'preview', 'poster', 'page', 'document', 'original'] as const;
export type MediaVariant = (typeof MEDIA_VARIANTS)[number];
export const MEDIA_MODES = ['preview', 'download'] as const;
export type MediaMode = (typeof MEDIA_MODES)[number];

/** What a URL under `/media/` asks for. */
export interface MediaAddress {
  /** By the grammar of ids (stores/upload-id.ts). */
  id: string;
  /** Of a preview, by the grammar of their names (stores/previews/names.ts): such a URL never means anything else. Variant and page count for nothing then. */
  name?: string | undefined;
  /** Undefined: the best there is. */
  variant?: MediaVariant | undefined;
  mode?: MediaMode | undefined;
  /** From 1 on. */
  page?: number | undefined;
}

/** Fields of a query or of JSON, of any type: a query's name that is given twice is an array. */
export type MediaFields = Partial<Record<'variant' | 'mode' | 'page', unknown>>;

/** @throws HttpError invalid_request */
export function parseMediaFields(fields: MediaFields): Pick<MediaAddress, 'variant' | 'mode' | 'page'> {
  return {
    variant: oneOf(MEDIA_VARIANTS, fields.variant, 'variant'),
    mode: oneOf(MEDIA_MODES, fields.mode, 'mode'),
    page: parsePage(fields.page),
  };
}

/** The one spelling of an address, from the root of the server: the same address is always the same text. */
export function pathOf({ id, name, variant, mode, page }: MediaAddress): string {
  const query = new URLSearchParams();
  if (name === undefined && variant !== undefined) query.set('variant', variant);
  if (name === undefined && page !== undefined) query.set('page', String(page));
  // The default says nothing.
  if (mode === 'download') query.set('mode', mode);
  const path = name === undefined ? `/media/${id}` : `/media/${id}/${name}`;
  return query.size === 0 ? path : `${path}?${query}`;
}

function oneOf<T extends string>(known: readonly T[], value: unknown, name: string): T | undefined {
  if (value === undefined) return undefined;
  const found = known.find((word) => word === value);
  if (found === undefined) {
    throw new HttpError('invalid_request', { message: `${name} must be one of ${known.join(', ')}.` });
  }
  return found;
}

function parsePage(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || !/^[1-9]\d{0,5}$/.test(text)) {
    throw new HttpError('invalid_request', { message: 'page must be a number from 1 on.' });
  }
  return Number(text);
}
