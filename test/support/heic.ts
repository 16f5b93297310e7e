/** One HEVC picture: the `hvcC` box of its decoder's parameters, and its NAL units with their lengths before them. */
export interface HevcPicture {
  parameters: Buffer;
  picture: Buffer;
  width: number;
  height: number;
}

/**
 * 64 x 48 pixels: a blue quarter (upper left) on red. By x265:
 * `ffmpeg -i quarter.png -frames:v 1 -c:v libx265 -pix_fmt yuv420p -tag:v hvc1 quarter.mp4`, read by `hevcOfMp4`.
 */
export const TINY_HEVC: HevcPicture = {
  parameters: Buffer.from(
    'AAAAdWh2Y0MBAWAAAACQAAAAAAAe8AD8/fj4AAAPA6AAAQAYQAEMAf//AWAAAAMAkAAAAwAAAwAelZgJoQABAClCAQEBYAAAAwCQAAADAAADAB6g' +
      'IIMWWVmuTK8BaAgAAAMACAAAAwDIQKIAAQAGRAHBc9CJ',
    'base64',
  ),
  picture: Buffer.from('AAAAMSgBrx2A49felOcvf/qr6NBkWgjZClil6/SeY4l2poXnEGWjhfjEhnnkJKfodfLC+cA=', 'base64'),
  width: 64,
  height: 48,
};

export interface HeicOptions {
  /** Quarter turns anticlockwise that a viewer has to make (ISO/IEC 23008-12, `irot`). */
  quarterTurns?: number;
  iccProfile?: Buffer;
  /** Item type: anything but `hvc1` is a codec that nobody has. */
  codec?: string;
  brand?: string;
}

/** A HEIC file (ISO/IEC 23008-12) of one HEVC picture. */
export function heicOf(hevc: HevcPicture, options: HeicOptions = {}): Buffer {
  const { quarterTurns = 0, iccProfile, codec = 'hvc1', brand = 'heic' } = options;
  const properties = [
    hevc.parameters,
    fullBox('ispe', 0, uint32(hevc.width), uint32(hevc.height)),
    ...(iccProfile === undefined ? [] : [box('colr', text('prof'), iccProfile)]),
    ...(quarterTurns === 0 ? [] : [box('irot', Buffer.from([quarterTurns]))]),
  ];
  // The first one, the decoder's parameters, is marked as essential; so is a rotation.
  const associations = properties.map((property, index) => {
    const isEssential = index === 0 || property.toString('latin1', 4, 8) === 'irot';
    return (isEssential ? 0x80 : 0) | (index + 1);
  });
  const fileType = box('ftyp', text(brand), uint32(0), text('mif1'), text('heic'));
  const metaWith = (dataAt: number) =>
    fullBox(
      'meta',
      0,
      fullBox('hdlr', 0, uint32(0), text('pict'), Buffer.alloc(13)),
      fullBox('pitm', 0, uint16(1)),
      // Offsets and lengths of 4 bytes each, no base offset; one item in one extent.
      fullBox(
        'iloc',
        0,
        uint16(0x4400),
        uint16(1),
        uint16(1),
        uint16(0),
        uint16(1),
        uint32(dataAt),
        uint32(hevc.picture.length),
      ),
      fullBox('iinf', 0, uint16(1), fullBox('infe', 2, uint16(1), uint16(0), text(codec), Buffer.alloc(1))),
      box(
        'iprp',
        box('ipco', ...properties),
        fullBox('ipma', 0, uint32(1), uint16(1), Buffer.from([associations.length, ...associations])),
      ),
    );
  const dataAt = fileType.length + metaWith(0).length + 8;
  return Buffer.concat([fileType, metaWith(dataAt), box('mdat', hevc.picture)]);
}

/** The first picture of an MP4 of one picture. */
export function hevcOfMp4(mp4: Buffer, width: number, height: number): HevcPicture {
  return { parameters: boxNamed(mp4, 'hvcC'), picture: boxNamed(mp4, 'mdat').subarray(8), width, height };
}

function boxNamed(bytes: Buffer, name: string): Buffer {
  const at = bytes.indexOf(name, 0, 'latin1') - 4;
  if (at < 0) throw new Error(`There is no ${name} box.`);
  return bytes.subarray(at, at + bytes.readUInt32BE(at));
}

function box(name: string, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([uint32(body.length + 8), text(name), body]);
}

function fullBox(name: string, version: number, ...content: Buffer[]): Buffer {
  return box(name, Buffer.from([version, 0, 0, 0]), ...content);
}

function text(value: string): Buffer {
  return Buffer.from(value, 'latin1');
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
