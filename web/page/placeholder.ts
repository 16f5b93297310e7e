import { thumbHashToDataURL } from 'thumbhash';

/** A blurred picture of some 30 pixels for `background-image`, from a thumbhash in base64; '' where it is none. */
export function placeholderImage(base64: string | null | undefined): string {
  if (!base64) return '';
  try {
    const hash = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return `url("${thumbHashToDataURL(hash)}")`;
  } catch {
    return '';
  }
}
