import type { Random } from './random.ts';

/** The upload that a request is about. */
export interface MutationTarget {
  path: string;
  offset: number;
}

/** What every upload of the test holds in the end: any byte tells where it belongs, roughly. */
export const CONTENT = Buffer.from(Array.from({ length: 4_000 }, (_, index) => 33 + (index % 90)));

/** The bytes of a tus request that was valid before up to three random changes to its head, framing or body. */
export function mutatedRequest(random: Random, target: MutationTarget): Buffer {
  const draft = validDraft(random, target);
  const mutations = random.below(4);
  for (let count = 0; count < mutations; count++) {
    if (draft.headers.length > 0) random.pick(MUTATIONS)(draft, random);
  }
  return render(draft, random);
}

interface Draft {
  method: string;
  path: string;
  headers: [string, string][];
  body: Buffer;
  isChunked: boolean;
}

/** A request that is as it should be. */
function validDraft(random: Random, target: MutationTarget): Draft {
  const method = random.pick([
    'PATCH',
    'PATCH',
    'PATCH',
    'PATCH',
    'POST',
    'POST',
    'HEAD',
    'GET',
    'DELETE',
    'OPTIONS',
  ]);
  const headers: [string, string][] = [
    ['Host', '127.0.0.1'],
    ['Tus-Resumable', '1.0.0'],
  ];
  let body: Buffer = Buffer.alloc(0);
  if (method === 'PATCH') {
    body = CONTENT.subarray(target.offset, target.offset + random.below(CONTENT.length - target.offset + 1));
    headers.push(['Upload-Offset', String(target.offset)]);
  }
  if (method === 'POST') {
    headers.push(
      random.chance(0.7) ? ['Upload-Length', String(CONTENT.length)] : ['Upload-Defer-Length', '1'],
    );
    if (random.chance(0.5)) headers.push(['Upload-Metadata', 'filename YS50eHQ=,group Zw==']);
    if (random.chance(0.5)) body = CONTENT.subarray(0, random.below(CONTENT.length));
  }
  if (method === 'PATCH' || body.length > 0)
    headers.push(['Content-Type', 'application/offset+octet-stream']);
  if (random.chance(0.2)) headers.push(['Origin', 'https://page.example']);
  if (random.chance(0.1)) headers.push(['X-HTTP-Method-Override', method]);
  const path = method === 'POST' ? '/files' : target.path;
  return { method, path, headers, body: Buffer.from(body), isChunked: random.chance(0.3) };
}

const ODD_VALUES = [
  ...[
    '',
    ' ',
    '0',
    '1',
    '-1',
    '+1',
    '1.5',
    '1e3',
    '00',
    '1,1',
    'NaN',
    'null',
    'true',
    '%00',
    '\t',
    ';',
    ',',
    '"',
    '=',
  ],
  ...[
    '9007199254740992',
    '18446744073709551616',
    '9'.repeat(300),
    '2.0.0',
    '1.0.0, 1.0.0',
    'a'.repeat(5_000),
  ],
  ...[
    'application/json',
    'application/offset+octet-stream;',
    'gzip',
    'chunked',
    'close',
    'Upgrade',
    '\u00e9\u00ff',
  ],
  ...[
    'filename',
    'filename !!!',
    'a YQ==,a YQ==',
    '__proto__ eA==',
    'checksum Zm9v',
    '../../etc/passwd',
    'final;/files/a',
  ],
];
const ODD_NAMES = [
  ...[
    'Upload-Offset',
    'Upload-Length',
    'Upload-Defer-Length',
    'Upload-Metadata',
    'Upload-Concat',
    'Upload-Checksum',
  ],
  ...[
    'Tus-Resumable',
    'Content-Type',
    'X-HTTP-Method-Override',
    'Expect',
    'Connection',
    'Range',
    'If-Match',
    'Host',
  ],
  ...[
    'Content-Encoding',
    'Transfer-Encoding',
    'Upgrade',
    'X-Forwarded-For',
    'Origin',
    '__proto__',
    'Upload-Complete',
  ],
];
const ODD_METHODS = [
  'PUT',
  'TRACE',
  'PROPFIND',
  'patch',
  'BREW',
  'GET',
  'HEAD',
  'DELETE',
  'POST',
  'OPTIONS',
  '',
];

type Mutation = (draft: Draft, random: Random) => void;

const MUTATIONS: Mutation[] = [
  ({ headers }, random) => void headers.splice(random.below(headers.length), 1),
  ({ headers }, random) => {
    const header = random.pick(headers);
    header[1] = random.pick(ODD_VALUES);
  },
  ({ headers }, random) => {
    const header = random.pick(headers);
    header[1] = flipBytes(Buffer.from(header[1], 'latin1'), random).toString('latin1');
  },
  ({ headers }, random) => void headers.push([...random.pick(headers)]),
  ({ headers }, random) => void headers.push([random.pick(ODD_NAMES), random.pick(ODD_VALUES)]),
  ({ headers }, random) => {
    const header = random.pick(headers);
    header[0] = random.chance(0.5)
      ? header[0].toUpperCase()
      : flipBytes(Buffer.from(header[0]), random).toString('latin1');
  },
  (draft, random) => {
    draft.method = random.pick(ODD_METHODS);
  },
  (draft, random) => {
    const added = random.pick([
      '/',
      '.json',
      '%00',
      '?x=y',
      '/..',
      '//',
      '%2f..',
      '#',
      '%zz',
      'A',
      '\\',
      '\u00ff',
    ]);
    draft.path = random.chance(0.5) ? draft.path + added : draft.path.slice(0, -1 - random.below(5)) + added;
  },
  (draft, random) => {
    draft.path = random.pick([
      '/',
      '/files',
      '/files/',
      '*',
      '',
      '/uploads',
      '/uploads/x',
      '/health/live',
      '/filesystem',
    ]);
  },
  (draft, random) => {
    draft.body = flipBytes(draft.body, random);
  },
  (draft, random) => {
    draft.body = random.chance(0.5)
      ? draft.body.subarray(0, random.below(draft.body.length + 1))
      : random.bytes(10_000);
  },
  (draft) => {
    draft.isChunked = !draft.isChunked;
  },
];

function flipBytes(bytes: Buffer, random: Random): Buffer {
  const flipped = Buffer.from(bytes);
  for (let count = 0; count < 3 && flipped.length > 0; count++)
    flipped[random.below(flipped.length)] = random.below(256);
  return flipped;
}

/** The draft as bytes; now and then with a framing that does not fit. */
function render(draft: Draft, random: Random): Buffer {
  const { method, path, headers, body } = draft;
  const lines = [`${method} ${path} HTTP/1.1`, ...headers.map(([name, value]) => `${name}: ${value}`)];
  let framed = body;
  if (draft.isChunked) {
    lines.push('Transfer-Encoding: chunked');
    const size = random.chance(0.05)
      ? random.pick(['', '-1', 'ffffffff', 'zz', '5;x=y'])
      : body.length.toString(16);
    framed =
      body.length === 0
        ? Buffer.from('0\r\n\r\n')
        : Buffer.concat([Buffer.from(`${size}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')]);
  } else if (body.length > 0 || random.chance(0.5)) {
    const off = random.chance(0.1) ? random.below(20) - 10 : 0;
    lines.push(`Content-Length: ${body.length + off}`);
  }
  let bytes: Buffer = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), framed]);
  if (random.chance(0.05)) bytes = flipBytes(bytes, random);
  if (random.chance(0.05)) bytes = bytes.subarray(0, random.below(bytes.length));
  return bytes;
}
