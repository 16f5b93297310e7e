import { describe, expect, test } from 'vitest';
import { HttpError } from '../../server/errors.ts';
import { clientKey } from '../../server/policy/client-key.ts';
import { isInRanges, parseMediaRange } from '../../server/policy/media-ranges.ts';
import { ownerOf } from '../../server/policy/open-uploads.ts';
import { createUploadPolicy, type PolicySettings } from '../../server/policy/upload-policy.ts';
import { encodeUploadMetadata } from '../../server/uploads/metadata.ts';

const ANYTHING: PolicySettings = {
  maxSizeBytes: undefined,
  allowedTypes: undefined,
  requiredMetadata: undefined,
  maxOpenUploads: undefined,
};

function refusalOf(run: () => void): { code: string; status: number; message: string } | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(HttpError);
    const { code, status, message } = error as HttpError;
    return { code, status, message };
  }
}

function creation(settings: Partial<PolicySettings>, metadata: Record<string, string>, concat?: string) {
  const policy = createUploadPolicy({ ...ANYTHING, ...settings });
  const rawMetadata = encodeUploadMetadata(metadata);
  return refusalOf(() => policy.checkCreation({ size: 5, rawMetadata, concat }));
}

describe('size', () => {
  const policy = createUploadPolicy({ ...ANYTHING, maxSizeBytes: 1000 });

  test('the limit itself is allowed; one byte more is a 413 that names the limit', () => {
    expect(refusalOf(() => policy.checkSize(1000))).toBeUndefined();
    expect(refusalOf(() => policy.checkSize(1001))).toEqual({
      code: 'size_limit',
      status: 413,
      message: expect.stringContaining('1000 bytes'),
    });
  });

  test('at creation it is checked where it is known, also of partial uploads', () => {
    const check = (size: number | undefined, concat?: string) =>
      refusalOf(() => policy.checkCreation({ size, rawMetadata: undefined, concat }))?.code;
    expect([check(1000), check(undefined), check(1001), check(1001, 'partial')]).toEqual([
      undefined,
      undefined,
      'size_limit',
      'size_limit',
    ]);
  });

  test('without a limit everything fits', () => {
    expect(refusalOf(() => createUploadPolicy(ANYTHING).checkSize(Number.MAX_SAFE_INTEGER))).toBeUndefined();
  });
});

describe('required metadata', () => {
  const requiredMetadata = ['filename', 'group'];

  test('all that is missing or empty is named at once', () => {
    expect(creation({ requiredMetadata }, { filename: 'a', group: 'b', more: '' })).toBeUndefined();
    expect(creation({ requiredMetadata }, { other: 'a' })).toEqual({
      code: 'metadata_required',
      status: 400,
      message: 'The metadata lacks filename, group.',
    });
    expect(creation({ requiredMetadata }, { filename: 'a', group: '' })?.message).toBe(
      'The metadata lacks group.',
    );
  });

  test('partial uploads need none, their final upload does', () => {
    expect(creation({ requiredMetadata }, {}, 'partial')).toBeUndefined();
    expect(creation({ requiredMetadata }, {}, 'final;/files/a /files/b')?.code).toBe('metadata_required');
  });
});

describe('declared types', () => {
  const allowedTypes = ['image/*', 'application/pdf', 'text/xml'];
  const declare = (filetype: string) => creation({ allowedTypes }, { filetype })?.code;

  test.each(['image/png', 'IMAGE/JPEG', 'image/jpg', 'image/svg+xml; charset=utf-8', 'application/pdf'])(
    '%s is allowed',
    (type) => expect(declare(type)).toBeUndefined(),
  );

  test.each(['video/mp4', 'text/html', 'application/pdfx', 'imagex/png', 'text/plain;a="image/png"'])(
    '%s is not',
    (type) => expect(declare(type)).toBe('type_not_allowed'),
  );

  test('one that says nothing is left to the bytes', () => {
    for (const type of ['application/octet-stream', 'nonsense', '']) expect(declare(type)).toBeUndefined();
    expect(creation({ allowedTypes }, {})).toBeUndefined();
  });

  test('an alias is the type that it stands for, on both sides', () => {
    expect(declare('application/xml')).toBeUndefined();
    expect(parseMediaRange('IMAGE/JPG')).toBe('image/jpeg');
  });

  test('the sentence says what would be accepted', () => {
    expect(creation({ allowedTypes }, { filetype: 'video/mp4' })).toEqual({
      code: 'type_not_allowed',
      status: 415,
      message: 'Files of the type video/mp4 are not accepted here, only image/*, application/pdf, text/xml.',
    });
  });

  test('ranges are types, type/* or */*, and nothing else', () => {
    for (const text of [
      'image',
      'image/',
      '/png',
      '*/png',
      'image/p*',
      'image/png;q=1',
      'a/b/c',
      '',
      'i m/a',
    ]) {
      expect(() => parseMediaRange(text), text).toThrow(RangeError);
    }
    expect(isInRanges('a/b', ['*/*'])).toBe(true);
    expect(isInRanges('image/png', ['image/*'])).toBe(true);
    expect(isInRanges('images/png', ['image/*'])).toBe(false);
  });
});

describe('who a client is', () => {
  const key = (ip: string, ips?: string[], authorization?: string) =>
    clientKey({ ip, ips, headers: authorization === undefined ? {} : { authorization } });

  test('an address, and of IPv6 the /64 that one client has', () => {
    expect(key('192.0.2.1')).not.toBe(key('192.0.2.2'));
    expect(key('::ffff:192.0.2.1')).toBe(key('192.0.2.1'));
    expect(key('2001:db8:1:2::1')).toBe(key('2001:db8:1:2:ffff:ffff:ffff:ffff'));
    expect(key('2001:db8::1')).toBe(key('2001:0db8:0:0:9::'));
    expect(key('2001:db8:1:2::1')).not.toBe(key('2001:db8:1:3::1'));
    expect(key('fe80::1%eth0')).toBe(key('fe80::2%eth1'));
    expect(key('::1')).toBe(key('::2'));
  });

  test('a bearer token, where a trusted proxy passed it on: who else could have checked it?', () => {
    const proxied = ['10.0.0.1', '192.0.2.1'];
    expect(key('192.0.2.1', proxied, 'Bearer a')).not.toBe(key('192.0.2.1', proxied, 'Bearer b'));
    expect(key('192.0.2.1', proxied, 'Bearer a')).toBe(key('192.0.2.9', proxied, 'bearer  a'));
    expect(key('192.0.2.1', proxied, 'Basic a')).toBe(key('192.0.2.1'));
    // Told by the client itself, a new one for every upload would be a way around the limit.
    expect(key('192.0.2.1', undefined, 'Bearer a')).toBe(key('192.0.2.1'));
    expect(key('192.0.2.1', ['192.0.2.1'], 'Bearer a')).toBe(key('192.0.2.1'));
  });

  test('the key shows neither', () => {
    expect(key('192.0.2.1')).toMatch(/^[\w-]{22}$/);
    expect(key('192.0.2.1', ['10.0.0.1', '192.0.2.1'], 'Bearer secret')).toMatch(/^[\w-]{22}$/);
  });

  test('partial uploads count under a key of their own, final ones not at all', () => {
    expect(ownerOf('key', undefined)).toBe('key');
    expect(ownerOf('key', 'partial')).toBe('key/partials');
    expect(ownerOf('key', 'final;/files/a')).toBeNull();
  });
});
