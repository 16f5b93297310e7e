import type { MediaInfo } from '../../stores/media-info.ts';

/** The `media` of a record of which no more is known than what it is. Null: its bytes have no signature that we know. */
export function mediaOfType(type: string | null): string {
  return JSON.stringify({ type, previews: [], missing: null } satisfies MediaInfo);
}
