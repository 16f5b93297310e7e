import { describe, expect, test } from 'vitest';
import { findForbiddenContent } from '../../server/policy/allowed-types.ts';
import { createUploadPolicy } from '../../server/policy/upload-policy.ts';
import { SAMPLES } from '../support/media-samples.ts';

const { png, pdf, html, svg, docx, odt, mp4, elf, csv, gif } = SAMPLES;

function judge(bytes: Buffer, declared: string | null, ...allowed: string[]): 'allowed' | 'forbidden' {
  return findForbiddenContent(bytes, declared, allowed) === undefined ? 'allowed' : 'forbidden';
}

describe('bytes that give their type away', () => {
  test('are judged by it, whatever was declared', () => {
    expect(judge(png, 'image/png', 'image/*')).toBe('allowed');
    expect(judge(png, null, 'image/*')).toBe('allowed');
    expect(judge(png, 'application/octet-stream', 'image/png')).toBe('allowed');
    expect(judge(gif, 'image/png', 'image/*')).toBe('allowed');
    expect(judge(gif, 'image/png', 'image/png')).toBe('forbidden');
    expect(judge(html, 'image/png', 'image/*')).toBe('forbidden');
    expect(judge(elf, 'image/png', 'image/*')).toBe('forbidden');
    expect(judge(html, 'text/plain', 'text/plain')).toBe('forbidden');
    expect(judge(pdf, null, 'image/*', 'application/pdf')).toBe('allowed');
  });

  test('may be the container of what was declared', () => {
    const word = 'application/vnd.openxmlformats-officedocument.wordprocessingml.document';
    expect(judge(docx, word, word)).toBe('allowed');
    expect(judge(docx, word, 'image/*')).toBe('forbidden');
    expect(judge(docx, null, word)).toBe('forbidden');
    expect(judge(docx, 'image/png', 'image/*')).toBe('forbidden');
    expect(judge(odt, null, 'application/vnd.oasis.opendocument.text')).toBe('allowed');
    expect(judge(mp4, 'audio/mp4', 'audio/*')).toBe('allowed');
    expect(judge(mp4, 'audio/mpeg', 'audio/*')).toBe('forbidden');
    expect(
      judge(Buffer.from('<?xml version="1.0"?><a/>'), 'application/atom+xml', 'application/atom+xml'),
    ).toBe('allowed');
  });
});

describe('bytes that do not', () => {
  test('are believed to be what was declared', () => {
    expect(judge(csv, 'text/csv', 'text/csv')).toBe('allowed');
    expect(judge(csv, 'application/json', 'application/json')).toBe('allowed');
    expect(judge(Buffer.alloc(0), 'text/plain', 'text/*')).toBe('allowed');
    expect(judge(Buffer.from([1, 2, 3]), 'application/x-own', 'application/x-own')).toBe('allowed');
  });

  test('unless those bytes would have been recognized, or are no text', () => {
    expect(judge(csv, 'image/png', 'image/*')).toBe('forbidden');
    expect(judge(Buffer.alloc(0), 'application/pdf', 'application/pdf')).toBe('forbidden');
    expect(judge(Buffer.from([0, 1, 2, 3]), 'text/csv', 'text/csv')).toBe('forbidden');
    expect(judge(Buffer.from([0, 1, 2, 3]), 'image/svg+xml', 'image/*')).toBe('forbidden');
  });

  test('need a declared type, and an allowed one', () => {
    expect(judge(csv, null, 'text/csv')).toBe('forbidden');
    expect(judge(csv, 'application/octet-stream', 'text/csv')).toBe('forbidden');
    expect(judge(csv, 'text/plain', 'text/csv')).toBe('forbidden');
    expect(judge(csv, null, '*/*')).toBe('allowed');
  });
});

test('the reason is a sentence for the client', () => {
  expect(findForbiddenContent(svg, 'image/png', ['image/png'])).toBe(
    'The bytes are of the type image/svg+xml, and such files are not accepted here, only image/png.',
  );
  expect(findForbiddenContent(csv, 'image/png', ['image/png'])).toBe(
    'The bytes are not of the declared type image/png.',
  );
});

test('partial uploads, and a server that takes everything, need no look at the bytes', () => {
  const settings = { maxSizeBytes: undefined, requiredMetadata: undefined, maxOpenUploads: undefined };
  const strict = createUploadPolicy({ ...settings, allowedTypes: ['image/*'] });
  expect(strict.headBytesOf({})).toBe(1024);
  expect(strict.headBytesOf({ concat: 'partial' })).toBe(0);
  expect(strict.headBytesOf({ concat: 'final;/files/a' })).toBe(1024);
  const open = createUploadPolicy({ ...settings, allowedTypes: undefined });
  expect(open.headBytesOf({})).toBe(0);
  expect(open.findForbiddenContent(elf, null)).toBeUndefined();
});
