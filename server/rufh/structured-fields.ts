/** Parameters of an Item (RFC 9651, 3.1.2): none is defined for our fields, and unknown ones are ignored. */
const PARAMETERS = String.raw`(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|[^\s";,]+))?)*`;
const INTEGER_ITEM = new RegExp(`^ *(-?[0-9]{1,15})${PARAMETERS} *$`);
const BOOLEAN_ITEM = new RegExp(String.raw`^ *\?([01])${PARAMETERS} *$`);

/**
 * A non-negative Integer of at most 15 digits (RFC 9651, 3.3.1). Undefined for everything else: "Other values MUST
 * cause the entire header field to be ignored" (draft -12, 4.1.1 and 4.1.3), and so does a repeated header, which
 * Node joins by a comma.
 */
export function parseCountItem(text: string | string[] | undefined): number | undefined {
  if (typeof text !== 'string') return undefined;
  const count = Number(INTEGER_ITEM.exec(text)?.[1]);
  return count >= 0 ? count : undefined;
}

/** A Boolean (RFC 9651, 3.3.6): `?1` or `?0`. Undefined, as if the header were not there, for everything else. */
export function parseBooleanItem(text: string | string[] | undefined): boolean | undefined {
  if (typeof text !== 'string') return undefined;
  const digit = BOOLEAN_ITEM.exec(text)?.[1];
  return digit === undefined ? undefined : digit === '1';
}
