import { HttpError } from '../errors.ts';

/**
 * A piece of a form, in order: for each part its `head` (the header lines), any number of `bytes`, `part-end`; at
 * last `end`.
 */
export type FormToken =
  | { kind: 'head'; head: Buffer }
  | { kind: 'bytes'; bytes: Buffer }
  | { kind: 'part-end' }
  | { kind: 'end' };

/** A part's header lines, and what may stand before the first part. */
export const MAX_HEAD_BYTES = 16 * 1024;
const MAX_PADDING_BYTES = 256;

const CRLF = Buffer.from('\r\n');
const HEAD_END = Buffer.from('\r\n\r\n');
const EMPTY = Buffer.alloc(0);

type State = 'preamble' | 'delimiter' | 'head' | 'body-start' | 'body' | 'epilogue';

/**
 * Takes a `multipart/form-data` body (RFC 7578, RFC 2046 section 5.1.1) apart while it streams in, whatever the
 * chunks are cut like. Nothing is kept but a head, or the few bytes that may be the beginning of a delimiter.
 *
 * `bytes` are parts of the chunk that was pushed, or of a new buffer: never of memory that is written to again.
 * Stricter than most parsers, because what they skip silently (a part without a name, a damaged delimiter) would
 * here be bytes that somebody believes to be stored. Throws HttpError invalid_form, form_too_large.
 */
export class MultipartParser {
  readonly #delimiter: Buffer;
  #state: State = 'preamble';
  /** The first delimiter has no line before it: this stands in for its end. */
  #rest: Buffer = CRLF;
  #preambleBytes = 0;

  constructor(boundary: string) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  }

  /** The last delimiter was seen: what follows it means nothing. */
  get isDone(): boolean {
    return this.#state === 'epilogue';
  }

  push(chunk: Buffer): FormToken[] {
    const tokens: FormToken[] = [];
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = EMPTY;
    for (;;) {
      const next = this.#step(data, tokens);
      if (next === undefined) return tokens;
      data = next;
    }
  }

  /** Does what it can with the data, and returns what is left of it; undefined when it needs more. */
  #step(data: Buffer, tokens: FormToken[]): Buffer | undefined {
    switch (this.#state) {
      case 'preamble':
        return this.#skipPreamble(data);
      case 'delimiter':
        return this.#endDelimiter(data, tokens);
      case 'head':
        return this.#takeHead(data, tokens);
      case 'body-start':
        return this.#startBody(data, tokens);
      case 'body':
        return this.#takeBody(data, tokens);
      case 'epilogue':
        return undefined;
    }
  }

  #keep(data: Buffer): undefined {
    this.#rest = data;
  }

  #skipPreamble(data: Buffer): Buffer | undefined {
    const at = data.indexOf(this.#delimiter);
    if (at !== -1) {
      this.#state = 'delimiter';
      return data.subarray(at + this.#delimiter.length);
    }
    const kept = Math.min(data.length, this.#delimiter.length - 1);
    this.#preambleBytes += data.length - kept;
    if (this.#preambleBytes > MAX_HEAD_BYTES) throw malformed('the boundary is not where the form begins');
    return this.#keep(data.subarray(data.length - kept));
  }

  /** RFC 2046: "delimiter := CRLF "--" boundary", padding and a line end; two more hyphens after the last part. */
  #endDelimiter(data: Buffer, tokens: FormToken[]): Buffer | undefined {
    if (data.length < 2) return this.#keep(data);
    if (data[0] === 0x2d && data[1] === 0x2d) {
      this.#state = 'epilogue';
      tokens.push({ kind: 'end' });
      return undefined;
    }
    let end = 0;
    while (end < data.length && (data[end] === 0x20 || data[end] === 0x09)) end += 1;
    if (end > MAX_PADDING_BYTES) throw malformed('a delimiter does not end');
    if (end + 2 > data.length) return this.#keep(data);
    if (data[end] !== 0x0d || data[end + 1] !== 0x0a) throw malformed('a delimiter has something behind it');
    this.#state = 'head';
    return data.subarray(end + 2);
  }

  #takeHead(data: Buffer, tokens: FormToken[]): Buffer | undefined {
    const at = data.subarray(0, MAX_HEAD_BYTES + HEAD_END.length).indexOf(HEAD_END);
    if (at === -1) {
      if (data.length >= MAX_HEAD_BYTES + HEAD_END.length) {
        throw new HttpError('form_too_large', { message: 'The header of a part is too large.' });
      }
      return this.#keep(data);
    }
    this.#state = 'body-start';
    tokens.push({ kind: 'head', head: data.subarray(0, at) });
    return data.subarray(at + CRLF.length);
  }

  /** A part without a body may lack the line end of its own: the head's last one is then the delimiter's first. */
  #startBody(data: Buffer, tokens: FormToken[]): Buffer | undefined {
    const compared = Math.min(data.length, this.#delimiter.length);
    if (data.compare(this.#delimiter, 0, compared, 0, compared) !== 0) {
      this.#state = 'body';
      return data.subarray(CRLF.length);
    }
    if (compared < this.#delimiter.length) return this.#keep(data);
    this.#state = 'delimiter';
    tokens.push({ kind: 'part-end' });
    return data.subarray(compared);
  }

  #takeBody(data: Buffer, tokens: FormToken[]): Buffer | undefined {
    const at = data.indexOf(this.#delimiter);
    const end = at === -1 ? this.#startOfPossibleDelimiter(data) : at;
    if (end > 0) tokens.push({ kind: 'bytes', bytes: data.subarray(0, end) });
    if (at === -1) return this.#keep(data.subarray(end));
    this.#state = 'delimiter';
    tokens.push({ kind: 'part-end' });
    return data.subarray(at + this.#delimiter.length);
  }

  /** A delimiter has its only CR at its start: just the last CR of the data can begin one that goes on in the next. */
  #startOfPossibleDelimiter(data: Buffer): number {
    const at = data.lastIndexOf(0x0d);
    const length = data.length - at;
    if (at === -1 || length >= this.#delimiter.length) return data.length;
    return data.compare(this.#delimiter, 0, length, at) === 0 ? at : data.length;
  }
}

function malformed(what: string): HttpError {
  return new HttpError('invalid_form', { message: `The form is malformed: ${what}.` });
}
