/** The first bytes of small files of many kinds, by a short name. */
export const SAMPLES = {
  png: bytes('\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0'),
  gif: bytes('GIF89a\x01\0\x01\0\x80\0\0'),
  jpeg: bytes('\xff\xd8\xff\xe0\0\x10JFIF\0'),
  webp: bytes('RIFF\x24\0\0\0WEBPVP8 '),
  avif: bytes('\0\0\0\x1cftypavif\0\0\0\0'),
  heic: bytes('\0\0\0\x18ftypheic\0\0\0\0'),
  svg: bytes('<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
  pdf: bytes('%PDF-1.7\n%\xe2\xe3\xcf\xd3\n'),
  html: bytes('\n <!-- x --><!DOCTYPE html><title>x</title>'),
  mp4: bytes('\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41'),
  mov: bytes('\0\0\0\x14ftypqt  \0\0\0\0'),
  webm: bytes('\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm'),
  mp3: bytes('\xff\xfb\x90\x64\0\0\0\0'),
  ogg: bytes(`OggS\0\x02${'\0'.repeat(20)}\x01\x1e\x01vorbis`),
  wav: bytes('RIFF\x24\x08\0\0WAVEfmt '),
  docx: bytes(`PK\x03\x04\x14\0\x06\0\x08\0${'\0'.repeat(16)}\x13\0\0\0[Content_Types].xml`),
  odt: openDocument('application/vnd.oasis.opendocument.text'),
  doc: bytes('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0'),
  gzip: bytes('\x1f\x8b\x08\0\0\0\0\0'),
  tar: bytes(`file.txt${'\0'.repeat(249)}ustar\x0000`),
  elf: bytes('\x7fELF\x02\x01\x01\0'),
  exe: bytes(`MZ\x90\0${'\0'.repeat(56)}\x80\0\0\0\0\0PE\0\0`),
  csv: bytes('name,size\nü,5\n'),
} as const;

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Its first entry is called `mimetype`, is stored as it is, and holds the type. */
function openDocument(type: string): Buffer {
  const header = Buffer.alloc(30);
  header.write('PK\x03\x04', 'latin1');
  header.writeUInt32LE(type.length, 18);
  header.writeUInt32LE(type.length, 22);
  header.writeUInt16LE('mimetype'.length, 26);
  return Buffer.concat([header, bytes(`mimetype${type}PK\x03\x04`)]);
}
