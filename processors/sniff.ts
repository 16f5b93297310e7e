/** As many bytes of a file as `sniffMediaType` looks at. */
export const SNIFFED_BYTES = 1024;

interface Signature {
  type: string;
  /** Position of the first byte. */
  at?: number;
  /** Latin-1 text; `?` stands for any byte. */
  bytes: string;
}

/**
 * Sources: the WHATWG MIME Sniffing Standard (section 6) and each format's specification. The longer and more
 * special ones come first.
 */
const SIGNATURES: readonly Signature[] = [
  { type: 'image/png', bytes: '\x89PNG\r\n\x1a\n' },
  { type: 'image/jpeg', bytes: '\xff\xd8\xff' },
  { type: 'image/gif', bytes: 'GIF87a' },
  { type: 'image/gif', bytes: 'GIF89a' },
  { type: 'image/webp', bytes: 'RIFF????WEBPVP' },
  { type: 'image/jxl', bytes: '\x00\x00\x00\x0cJXL \r\n\x87\n' },
  { type: 'image/jxl', bytes: '\xff\x0a' },
  { type: 'image/jp2', bytes: '\x00\x00\x00\x0cjP  \r\n\x87\n' },
  { type: 'image/tiff', bytes: 'II*\0' },
  { type: 'image/tiff', bytes: 'MM\0*' },
  { type: 'image/bmp', bytes: 'BM????\0\0\0\0' },
  { type: 'image/x-icon', bytes: '\0\0\x01\0' },
  { type: 'image/vnd.adobe.photoshop', bytes: '8BPS\0' },
  { type: 'application/pdf', bytes: '%PDF-' },
  { type: 'application/postscript', bytes: '%!PS-Adobe-' },
  { type: 'text/rtf', bytes: '{\\rtf' },
  { type: 'audio/wav', bytes: 'RIFF????WAVE' },
  { type: 'audio/wav', bytes: 'RF64????WAVE' },
  { type: 'audio/aiff', bytes: 'FORM????AIFF' },
  { type: 'audio/aiff', bytes: 'FORM????AIFC' },
  { type: 'audio/flac', bytes: 'fLaC' },
  { type: 'audio/midi', bytes: 'MThd\0\0\0\x06' },
  { type: 'audio/amr', bytes: '#!AMR' },
  { type: 'audio/mpeg', bytes: 'ID3\x02' },
  { type: 'audio/mpeg', bytes: 'ID3\x03' },
  { type: 'audio/mpeg', bytes: 'ID3\x04' },
  { type: 'audio/basic', bytes: '.snd\0\0' },
  { type: 'video/x-msvideo', bytes: 'RIFF????AVI ' },
  { type: 'video/x-flv', bytes: 'FLV\x01' },
  { type: 'video/x-ms-wmv', bytes: '\x30\x26\xb2\x75\x8e\x66\xcf\x11' },
  { type: 'video/mpeg', bytes: '\0\0\x01\xba' },
  { type: 'video/mpeg', bytes: '\0\0\x01\xb3' },
  { type: 'application/zip', bytes: 'PK\x03\x04' },
  { type: 'application/zip', bytes: 'PK\x05\x06' },
  { type: 'application/zip', bytes: 'PK\x07\x08' },
  { type: 'application/gzip', bytes: '\x1f\x8b' },
  { type: 'application/x-7z-compressed', bytes: '7z\xbc\xaf\x27\x1c' },
  { type: 'application/vnd.rar', bytes: 'Rar!\x1a\x07' },
  { type: 'application/x-xz', bytes: '\xfd7zXZ\0' },
  { type: 'application/zstd', bytes: '\x28\xb5\x2f\xfd' },
  { type: 'application/x-bzip2', bytes: 'BZh?1AY&SY' },
  { type: 'application/x-lz4', bytes: '\x04\x22\x4d\x18' },
  { type: 'application/x-tar', at: 257, bytes: 'ustar' },
  { type: 'application/x-cfb', bytes: '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1' },
  { type: 'application/vnd.sqlite3', bytes: 'SQLite format 3\0' },
  { type: 'application/wasm', bytes: '\0asm' },
  { type: 'application/x-executable', bytes: '\x7fELF' },
  { type: 'application/x-mach-binary', bytes: '\xfe\xed\xfa\xce' },
  { type: 'application/x-mach-binary', bytes: '\xfe\xed\xfa\xcf' },
  { type: 'application/x-mach-binary', bytes: '\xce\xfa\xed\xfe' },
  { type: 'application/x-mach-binary', bytes: '\xcf\xfa\xed\xfe' },
  { type: 'application/java-vm', bytes: '\xca\xfe\xba\xbe' },
  { type: 'application/x-ms-shortcut', bytes: 'L\0\0\0\x01\x14\x02\0' },
  { type: 'application/x-sh', bytes: '#!/' },
  { type: 'font/woff', bytes: 'wOFF' },
  { type: 'font/woff2', bytes: 'wOF2' },
  { type: 'font/otf', bytes: 'OTTO\0' },
  { type: 'font/ttf', bytes: '\0\x01\0\0\0' },
  { type: 'font/collection', bytes: 'ttcf\0' },
];

/** Major brand of an ISO base media file (ISO/IEC 14496-12, 4.3) -> its type. Others are MP4. */
const BRANDS: readonly [RegExp, string][] = [
  [/^avi[fs]$/, 'image/avif'],
  [/^(?:hei[cx]|hev[cx]|heim|heis|hevm|hevs)$/, 'image/heic'],
  [/^(?:mif1|msf1)$/, 'image/heif'],
  [/^crx $/, 'image/x-canon-cr3'],
  [/^qt {2}$/, 'video/quicktime'],
  [/^M4[ABP] $/, 'audio/mp4'],
  [/^3g[ep]/, 'video/3gpp'],
  [/^3g2/, 'video/3gpp2'],
];

/** First words of markup, behind comments and declarations -> its type. */
const MARKUP: readonly [RegExp, string][] = [
  [/^<svg[\s>]/i, 'image/svg+xml'],
  [/^<!doctype\s+svg/i, 'image/svg+xml'],
  [/^<!doctype\s+html/i, 'text/html'],
  // Only what no other kind of text begins with: Markdown likes to open with a <p> or a <div>.
  [/^<(?:html|head|body|script|iframe|style|title)[\s>]/i, 'text/html'],
];

/**
 * The media type that a file's first bytes give away, or undefined. The name and the declared type of a file are
 * what its sender says; this is what programs that open it go by.
 *
 * Text has no signature: only markup (HTML, SVG, XML) and RTF are told apart. Formats that are a ZIP or an OLE
 * container inside (Word, Excel, JAR) are `application/zip` and `application/x-cfb`, except for those that name
 * themselves first (OpenDocument, EPUB).
 *
 * @param head the first SNIFFED_BYTES bytes, or all there are
 */
export function sniffMediaType(head: Buffer): string | undefined {
  const bytes = head.subarray(0, SNIFFED_BYTES);
  const text = bytes.toString('latin1');
  if (text.startsWith('PK\x03\x04')) return typeOfZip(bytes, text);
  if (text.startsWith('\x1a\x45\xdf\xa3')) return text.includes('webm') ? 'video/webm' : 'video/x-matroska';
  if (text.startsWith('OggS')) return typeOfOgg(text);
  if (text.startsWith('MZ'))
    return isDosProgram(bytes) ? 'application/vnd.microsoft.portable-executable' : undefined;
  if (text.slice(4, 8) === 'ftyp') return typeOfBrand(text.slice(8, 12));
  // QuickTime files from before there were brands.
  if (/^(?:moov|mdat|wide|free|skip|pnot)$/.test(text.slice(4, 8))) return 'video/quicktime';
  const signature = SIGNATURES.find((candidate) => matches(text, candidate));
  if (signature !== undefined) return signature.type;
  return typeOfMarkup(bytes) ?? typeOfMpeg(bytes);
}

/** Whether these bytes can be the beginning of a text: no control characters but those that texts have. */
export function looksLikeText(head: Buffer): boolean {
  if (startsWith(head, 0xff, 0xfe) || startsWith(head, 0xfe, 0xff)) return true;
  // WHATWG MIME Sniffing, 3: "binary data byte".
  return head.every(
    (byte) => byte > 0x1f || (byte >= 0x09 && byte <= 0x0d && byte !== 0x0b) || byte === 0x1b,
  );
}

/** Whether `sniffMediaType` recognizes every file of this type: bytes that it does not know are then none. */
export function isAlwaysRecognized(type: string): boolean {
  return ALWAYS_RECOGNIZED.has(type) && !SOMETIMES_RECOGNIZED.includes(type);
}

/** Frames behind junk, elementary streams, tar from before 1988, PostScript without a version. */
const SOMETIMES_RECOGNIZED: readonly string[] = [
  'audio/mpeg',
  'video/mpeg',
  'video/quicktime',
  'application/x-tar',
  'application/postscript',
  'application/x-sh',
  'font/ttf',
];

const ALWAYS_RECOGNIZED: ReadonlySet<string> = new Set([
  ...SIGNATURES.map(({ type }) => type),
  ...BRANDS.map(([, type]) => type),
  'application/epub+zip',
  'application/ogg',
  'audio/ogg',
  'video/mp4',
  'video/ogg',
  'video/webm',
  'video/x-matroska',
]);

function matches(text: string, { at = 0, bytes }: Signature): boolean {
  if (text.length < at + bytes.length) return false;
  for (let index = 0; index < bytes.length; index++) {
    if (bytes[index] !== '?' && bytes[index] !== text[at + index]) return false;
  }
  return true;
}

/** OpenDocument and EPUB: the first entry is called `mimetype`, is not compressed, and holds the type. */
function typeOfZip(bytes: Buffer, text: string): string {
  if (bytes.length < 38 || text.slice(30, 38) !== 'mimetype') return 'application/zip';
  const isStored = bytes.readUInt16LE(8) === 0;
  const length = bytes.readUInt32LE(18);
  const start = 38 + bytes.readUInt16LE(28);
  const type = text.slice(start, start + length);
  return isStored && /^application\/[a-z0-9.+-]{1,100}$/.test(type) ? type : 'application/zip';
}

function typeOfOgg(text: string): string {
  if (text.includes('\x80theora') || text.includes('\x01video')) return 'video/ogg';
  const isAudio = ['OpusHead', '\x01vorbis', '\x7fFLAC', 'Speex   '].some((codec) => text.includes(codec));
  return isAudio ? 'audio/ogg' : 'application/ogg';
}

function isDosProgram(bytes: Buffer): boolean {
  // The offset of the header that follows, in every program since 1985; `MZ` alone may begin a text.
  return bytes.length >= 64 && bytes.readUInt32LE(60) >= 64 && bytes.readUInt32LE(60) < 0x10000;
}

function typeOfBrand(brand: string): string {
  return BRANDS.find(([pattern]) => pattern.test(brand))?.[1] ?? 'video/mp4';
}

/** Bytes that markup begins with, behind blanks: `<`, a byte order mark, or a blank of Unicode that UTF-8 begins so. */
const MARKUP_STARTS: ReadonlySet<number> = new Set([0x3c, 0xc2, 0xe1, 0xe2, 0xe3, 0xef, 0xfe, 0xff]);

function typeOfMarkup(bytes: Buffer): string | undefined {
  // Decoding costs more than all signatures together.
  const first = bytes.find((byte) => byte !== 0x20 && (byte < 0x09 || byte > 0x0d));
  if (first === undefined || !MARKUP_STARTS.has(first)) return undefined;
  const text = decode(bytes).replace(/^\ufeff/, '');
  const isXml = /^\s*<\?xml\s/i.test(text);
  const start = skipPrologue(text);
  const found = MARKUP.find(([pattern]) => pattern.test(start));
  if (found !== undefined) return found[1];
  return isXml ? 'text/xml' : undefined;
}

function decode(bytes: Buffer): string {
  if (startsWith(bytes, 0xff, 0xfe)) return bytes.toString('utf16le');
  if (startsWith(bytes, 0xfe, 0xff)) {
    return Buffer.from(bytes.subarray(0, bytes.length & ~1))
      .swap16()
      .toString('utf16le');
  }
  return bytes.toString('utf8');
}

/** What comes after blanks, comments and processing instructions. */
function skipPrologue(text: string): string {
  let rest = text.trimStart();
  for (;;) {
    const end = rest.startsWith('<!--') ? '-->' : rest.startsWith('<?') ? '?>' : undefined;
    if (end === undefined) return rest;
    const at = rest.indexOf(end);
    if (at === -1) return '';
    rest = rest.slice(at + end.length).trimStart();
  }
}

/** MPEG audio without a tag: a frame header (ISO/IEC 11172-3, 2.4.2.3) at the start. And AAC in ADTS frames. */
function typeOfMpeg(bytes: Buffer): string | undefined {
  const [first = 0, second = 0, third = 0] = bytes;
  if (bytes.length < 4 || first !== 0xff || (second & 0xe0) !== 0xe0) return undefined;
  if ((second & 0xf6) === 0xf0) return 'audio/aac';
  const hasVersion = (second & 0x18) !== 0x08;
  const hasLayer = (second & 0x06) !== 0;
  const hasBitRate = (third & 0xf0) !== 0xf0 && (third & 0xf0) !== 0;
  const hasSampleRate = (third & 0x0c) !== 0x0c;
  return hasVersion && hasLayer && hasBitRate && hasSampleRate ? 'audio/mpeg' : undefined;
}

function startsWith(bytes: Buffer, first: number, second: number): boolean {
  return bytes[0] === first && bytes[1] === second;
}
