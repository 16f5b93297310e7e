import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HttpError } from '../../server/errors.ts';
import { boundaryOf, parseFormPart } from '../../server/plain/form-part.ts';
import { parseParameters } from '../../server/plain/header-parameters.ts';
import { MAX_HEAD_BYTES, MultipartParser } from '../../server/plain/multipart-parser.ts';

interface Part {
  head: string;
  body: Buffer;
}

/** Parses a form that comes in these pieces; undefined when it has no end. */
function parse(boundary: string, pieces: readonly Buffer[]): Part[] | undefined {
  const parser = new MultipartParser(boundary);
  const parts: Part[] = [];
  let open: { head: string; chunks: Buffer[] } | undefined;
  let hasEnded = false;
  for (const piece of pieces) {
    // What was handed out must stay what it was: each piece is a memory of its own that nobody reuses.
    for (const token of parser.push(Buffer.from(piece))) {
      if (token.kind === 'head') open = { head: token.head.toString('latin1'), chunks: [] };
      else if (token.kind === 'bytes') open?.chunks.push(token.bytes);
      else if (token.kind === 'part-end' && open) {
        parts.push({ head: open.head, body: Buffer.concat(open.chunks) });
        open = undefined;
      } else if (token.kind === 'end') hasEnded = true;
    }
  }
  expect(parser.isDone).toBe(hasEnded);
  return hasEnded ? parts : undefined;
}

function build(boundary: string, parts: readonly Part[]): Buffer {
  const pieces = parts.flatMap(({ head, body }) => [
    Buffer.from(`--${boundary}\r\n${head}\r\n\r\n`, 'latin1'),
    body,
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]);
}

function split(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (let index = 0; at < bytes.length; index++) {
    const size = sizes.length === 0 ? bytes.length : (sizes[index % sizes.length] as number);
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

function codeOf(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(HttpError);
    return (error as HttpError).code;
  }
}

const parseText = (text: string) => parse('B', [Buffer.from(text, 'latin1')]);

describe('MultipartParser', () => {
  test('any parts come back byte for byte, however the body is cut into chunks', () => {
    // Bodies made of what delimiters are made of.
    const fragment = fc.constantFrom(
      '\r',
      '\n',
      '\r\n',
      '-',
      '--',
      '\r\n-',
      '\r\n--',
      '\r\n--b',
      'b',
      'x',
      '\0',
      '\xff',
    );
    const body = fc
      .array(fragment, { maxLength: 30 })
      .map((pieces) => Buffer.from(pieces.join(''), 'latin1'))
      .filter(
        (bytes) => !bytes.includes('\r\n--bound') && !bytes.subarray(0, 7).equals(Buffer.from('--bound')),
      );
    const parts = fc.array(fc.record({ head: fc.constantFrom('a: b', 'a: b\r\nc: d'), body }), {
      minLength: 1,
      maxLength: 4,
    });
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 8 });
    fc.assert(
      fc.property(parts, sizes, (given, cuts) => {
        expect(parse('bound', split(build('bound', given), cuts))).toEqual(given);
      }),
      { numRuns: 2_000, seed: 7 },
    );
  });

  test('any garbage is taken or refused, never anything else', () => {
    const fragment = fc.constantFrom(
      '--B',
      '\r\n--B',
      '\r\n',
      '\r\n\r\n',
      '--',
      'a: b',
      'x',
      ' ',
      '\r',
      '\0',
    );
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 20 }), (pieces) => {
        const code = codeOf(() =>
          parse(
            'B',
            pieces.map((piece) => Buffer.from(piece, 'latin1')),
          ),
        );
        expect([undefined, 'invalid_form']).toContain(code);
      }),
      { numRuns: 2_000, seed: 8 },
    );
  });

  test('a preamble and an epilogue mean nothing', () => {
    expect(
      parseText('a preamble\r\n--B\r\nh: 1\r\n\r\nbody\r\n--B--\r\nan epilogue\r\n--B\r\nh: 2\r\n\r\n'),
    ).toEqual([{ head: 'h: 1', body: Buffer.from('body') }]);
  });

  test('a delimiter may have blanks behind it', () => {
    expect(parseText('--B \t\r\nh: 1\r\n\r\nbody\r\n--B--')).toHaveLength(1);
  });

  test('parts without bytes, with and without a line end of their own', () => {
    const none = { head: 'h: 1', body: Buffer.alloc(0) };
    expect(parseText('--B\r\nh: 1\r\n\r\n\r\n--B\r\nh: 1\r\n\r\n--B\r\nh: 1\r\n\r\n--B--')).toEqual([
      none,
      none,
      none,
    ]);
  });

  test('what looks like a delimiter inside a line is a body', () => {
    const body = Buffer.from('x--B\r\n-B\n--B--\r\r\n-\r\n--C');
    expect(parse('B', [build('B', [{ head: 'h: 1', body }])])).toEqual([{ head: 'h: 1', body }]);
  });

  test('another form inside is a body', () => {
    const body = build('inner', [
      { head: 'Content-Disposition: form-data; name="x"', body: Buffer.from('y') },
    ]);
    expect(parse('outer', split(build('outer', [{ head: 'h: 1', body }]), [3]))).toEqual([
      { head: 'h: 1', body },
    ]);
  });

  test('a form that stops before its end has none', () => {
    const whole = build('B', [{ head: 'h: 1', body: Buffer.from('body') }]);
    for (let length = 0; length < whole.length - 4; length++) {
      expect(parse('B', [whole.subarray(0, length)])).toBeUndefined();
    }
  });

  test('a delimiter with something behind it is refused: it may be the beginning of another boundary', () => {
    expect(codeOf(() => parseText('--BX\r\nh: 1\r\n\r\n'))).toBe('invalid_form');
    expect(codeOf(() => parseText('--B\nh: 1\r\n\r\n'))).toBe('invalid_form');
    expect(codeOf(() => parseText(`--B${' '.repeat(300)}`))).toBe('invalid_form');
  });

  test('no head and no preamble grows without end', () => {
    expect(codeOf(() => parseText(`--B\r\nh: ${'x'.repeat(MAX_HEAD_BYTES + 1)}`))).toBe('form_too_large');
    expect(codeOf(() => parseText('x'.repeat(MAX_HEAD_BYTES + 100)))).toBe('invalid_form');
    const head = `h: ${'x'.repeat(MAX_HEAD_BYTES - 3)}`;
    expect(parseText(`--B\r\n${head}\r\n\r\nbody\r\n--B--`)).toEqual([{ head, body: Buffer.from('body') }]);
  });

  test('bytes are never held back: a chunk without a CR goes out whole, as it came', () => {
    const parser = new MultipartParser('B');
    parser.push(Buffer.from('--B\r\nh: 1\r\n\r\nbody'));
    const chunk = Buffer.alloc(100_000, 'x');
    const [token, ...rest] = parser.push(chunk);
    expect(rest).toEqual([]);
    expect(token?.kind === 'bytes' && token.bytes.buffer === chunk.buffer && token.bytes.length).toBe(
      100_000,
    );
  });
});

describe('parseFormPart', () => {
  const part = (...lines: string[]) => parseFormPart(Buffer.from(lines.join('\r\n')));
  const named = (disposition: string) => part(`Content-Disposition: form-data; ${disposition}`);

  test('a field, and a file', () => {
    expect(named('name="group"')).toEqual({ name: 'group', filename: undefined, contentType: undefined });
    expect(part('content-TYPE:image/png ', 'CONTENT-disposition: Form-Data; name=f; filename=a.png')).toEqual(
      {
        name: 'f',
        filename: 'a.png',
        contentType: 'image/png',
      },
    );
    expect(named('name="f"; filename=""').filename).toBe('');
  });

  test.each([
    ['filename="ü 日本 😀.png"', 'ü 日本 😀.png'],
    ['filename="a;b=c, d.png"', 'a;b=c, d.png'],
    ['filename="say %22hi%22%0D%0A.png"', 'say "hi"\r\n.png'],
    ['filename="100%.png"', '100%.png'],
    ['filename="50%25.png"', '50%25.png'],
    [String.raw`filename="say \"hi\" \\.png"`, String.raw`say "hi" \.png`],
    [String.raw`filename="C:\dir\file.png"`, String.raw`C:\dir\file.png`],
    ['filename="dir/file.png"', 'dir/file.png'],
    ["filename*=UTF-8''%C3%BC%20.png", 'ü .png'],
    ['filename="u.png"; filename*=utf-8\'en\'%C3%BC.png', 'ü.png'],
  ])('%s', (disposition, filename) => {
    expect(named(`name="f"; ${disposition}`).filename).toBe(filename);
  });

  test('a name that is not UTF-8 is Latin-1', () => {
    const head = Buffer.from('Content-Disposition: form-data; name="f"; filename="\xfc.png"', 'latin1');
    expect(parseFormPart(head).filename).toBe('ü.png');
  });

  test.each([
    [['Content-Type: text/plain']],
    [['Content-Disposition: attachment; name="f"']],
    [['Content-Disposition: form-data']],
    [['Content-Disposition: form-data; name=""']],
    [['Content-Disposition: form-data; name="f']],
    [['Content-Disposition: form-data; name="f"; name="g"']],
    [['Content-Disposition: form-data; name="f"; filename*=UTF-8\'\'%zz']],
    [['Content-Disposition: form-data; name="f"', 'Content-Transfer-Encoding: base64']],
    [['Content-Disposition: form-data; name="f"', 'no header']],
    [['Content-Disposition: form-data;', ' name="f"']],
    [['Content-Disposition: form-data; name="f"', 'a: \nb']],
    [['']],
  ])('%j is refused, not skipped', (lines) => {
    expect(codeOf(() => part(...lines))).toBe('invalid_form');
  });
});

describe('boundaryOf', () => {
  test.each([
    ['multipart/form-data; boundary=----WebKitFormBoundary7MA4', '----WebKitFormBoundary7MA4'],
    ['multipart/form-data; charset=utf-8; BOUNDARY="a b:c;d=e/f\'(g)+_,-.?h"', undefined],
    ['Multipart/Form-Data;boundary="a b:c=e/f\'(g)+_,-.?h"', "a b:c=e/f'(g)+_,-.?h"],
    ['multipart/form-data', undefined],
    ['multipart/form-data; boundary=', undefined],
    ['multipart/form-data; boundary=""', undefined],
    ['multipart/form-data; boundary="ends in a blank "', undefined],
    [`multipart/form-data; boundary=${'b'.repeat(70)}`, 'b'.repeat(70)],
    [`multipart/form-data; boundary=${'b'.repeat(71)}`, undefined],
    ['multipart/form-data; boundary="a\r\nb"', undefined],
  ])('%s', (contentType, boundary) => {
    if (boundary === undefined) expect(codeOf(() => boundaryOf(contentType))).toBe('invalid_form');
    else expect(boundaryOf(contentType)).toBe(boundary);
  });
});

test('parameters of headers: names in any case, tokens and quoted strings, empty ones skipped', () => {
  expect(parseParameters('a/b')).toEqual({ value: 'a/b', parameters: new Map() });
  expect(parseParameters(' A/B ;; X=1 ; y="2;3"; ')).toEqual({
    value: 'a/b',
    parameters: new Map([
      ['x', '1'],
      ['y', '2;3'],
    ]),
  });
  for (const broken of ['', ';', 'a; b', 'a; =b', 'a; b="c', 'a; b="c"d', 'a b=c']) {
    expect(parseParameters(broken), broken).toBeUndefined();
  }
});

test('a long header that is no header takes no longer than a short one', () => {
  const startedAt = performance.now();
  parseParameters(`a; b="${'\\'.repeat(200_000)}`);
  parseParameters(`a${'; '.repeat(100_000)}b`);
  parseParameters(`a${' \t'.repeat(100_000)}b`);
  expect(performance.now() - startedAt).toBeLessThan(500);
});
