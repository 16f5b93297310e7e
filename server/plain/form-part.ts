import { HttpError } from '../errors.ts';
import { parseParameters } from './header-parameters.ts';

/** What a part's header lines say. */
export interface FormPart {
  /** Of the field. */
  name: string;
  /** Undefined: a plain field. Empty: a file input in which nothing was chosen, if no bytes follow. */
  filename: string | undefined;
  contentType: string | undefined;
}

/** 7bit, 8bit and binary change nothing. RFC 7578, 4.7 has no place for the others, and nobody would decode them. */
const ENCODINGS_THAT_CHANGE_NOTHING = ['7bit', '8bit', 'binary'];

/** Throws HttpError invalid_form for what is no part of a form. */
export function parseFormPart(head: Buffer): FormPart {
  const headers = new Map<string, string>();
  for (const line of decodeText(head).split('\r\n')) {
    const header = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([^\r\n\0]*)$/.exec(line);
    if (header === null) throw malformed('a part has a header line that is none');
    headers.set((header[1] as string).toLowerCase(), (header[2] as string).trimEnd());
  }
  const disposition = parseParameters(headers.get('content-disposition') ?? '');
  if (disposition?.value !== 'form-data') {
    throw malformed('a part has no "Content-Disposition: form-data"');
  }
  const name = disposition.parameters.get('name');
  if (name === undefined || name === '') throw malformed('a part has no name');
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase();
  if (encoding !== undefined && !ENCODINGS_THAT_CHANGE_NOTHING.includes(encoding)) {
    throw malformed('a part has a Content-Transfer-Encoding: send the bytes as they are');
  }
  return {
    name: unescapeName(name),
    filename: filenameOf(disposition.parameters),
    contentType: headers.get('content-type') || undefined,
  };
}

/** The boundary of a `multipart/form-data` Content-Type. Throws HttpError invalid_form without a legal one. */
export function boundaryOf(contentType: string): string {
  const boundary = parseParameters(contentType)?.parameters.get('boundary') ?? '';
  // RFC 2046, 5.1.1: "boundary := 0*69<bchars> bcharsnospace"
  if (!/^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/.test(boundary)) {
    throw malformed('its Content-Type has no boundary, or none that is legal');
  }
  return boundary;
}

function filenameOf(parameters: Map<string, string>): string | undefined {
  const plain = parameters.get('filename');
  // RFC 7578, 4.2 forbids `filename*`, and old HTTP libraries send it for names outside ASCII all the same.
  const extended = /^utf-8'[^']*'(.*)$/i.exec(parameters.get('filename*') ?? '')?.[1];
  if (extended === undefined) return plain === undefined ? undefined : unescapeName(plain);
  try {
    return decodeURIComponent(extended);
  } catch {
    throw malformed('a file name is encoded wrongly');
  }
}

/** HTML, "multipart/form-data encoding algorithm": these three, and only these, are percent-encoded in names. */
function unescapeName(name: string): string {
  return name.replace(/%(22|0D|0A)/gi, (_escape, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** Browsers send names as UTF-8, whatever the page; Latin-1 is for what cannot be that. */
function decodeText(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}

function malformed(what: string): HttpError {
  return new HttpError('invalid_form', { message: `The form is malformed: ${what}.` });
}
