import sharp from 'sharp';

/**
 * What Android's cameras write: an ordinary JPEG, and behind it a second one, which says how much brighter each part
 * of it is on a screen that can do that (Ultra HDR Image Format v1.1, CIPA DC-007).
 */
export async function ultraHdrOf(jpeg: Buffer): Promise<Buffer> {
  const grey = { width: 64, height: 64, channels: 3, background: '#888' } as const;
  const gainMap = withSegments(await sharp({ create: grey }).toColourspace('b-w').jpeg().toBuffer(), [
    xmpSegment(
      `<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"
        hdrgm:GainMapMin="0" hdrgm:GainMapMax="2" hdrgm:Gamma="1" hdrgm:OffsetSDR="0.015625"
        hdrgm:OffsetHDR="0.015625" hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="2"
        hdrgm:BaseRenditionIsHDR="False"/>`,
    ),
  ]);
  const item = (attributes: string) =>
    `<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="image/jpeg" ${attributes}/></rdf:li>`;
  const description = xmpSegment(
    `<rdf:Description xmlns:Container="http://ns.google.com/photos/1.0/container/"
      xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
      xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"><Container:Directory><rdf:Seq>
      ${item('Item:Semantic="Primary"')}${item(`Item:Semantic="GainMap" Item:Length="${gainMap.length}"`)}
    </rdf:Seq></Container:Directory></rdf:Description>`,
  );
  const primarySize = jpeg.length + description.length + multiPictureSegment(0, 0, 0).length;
  // Positions count from its byte order mark: behind the SOI, the description, a marker, a length and "MPF\0".
  const gainMapAt = primarySize - (2 + description.length + 4 + 4);
  const pictures = multiPictureSegment(primarySize, gainMap.length, gainMapAt);
  return Buffer.concat([withSegments(jpeg, [description, pictures]), gainMap]);
}

function withSegments(jpeg: Buffer, segments: Buffer[]): Buffer {
  return Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)]);
}

function segment(marker: number, content: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(content.length + 2, 2);
  return Buffer.concat([head, content]);
}

function xmpSegment(description: string): Buffer {
  const xmp = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
    xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">${description}</rdf:RDF></x:xmpmeta>`;
  return segment(0xe1, Buffer.from(`http://ns.adobe.com/xap/1.0/\0${xmp}`));
}

/** A TIFF directory of two pictures: MPFVersion, NumberOfImages, MPEntry. */
function multiPictureSegment(primarySize: number, otherSize: number, otherAt: number): Buffer {
  const entriesAt = 8 + 2 + 3 * 12 + 4;
  const fields = [
    [0xb000_0007, 4, 0x3031_3030],
    [0xb001_0004, 1, 2],
    [0xb002_0007, 32, entriesAt],
  ].flat();
  const entries = [0x0003_0000, primarySize, 0, 0, 0, otherSize, otherAt, 0];
  const body = Buffer.alloc(entriesAt + 32);
  body.write('MM\0*\0\0\0\x08\0\x03', 'latin1');
  for (const [index, value] of fields.entries()) body.writeUInt32BE(value, 10 + index * 4);
  for (const [index, value] of entries.entries()) body.writeUInt32BE(value, entriesAt + index * 4);
  return segment(0xe2, Buffer.concat([Buffer.from('MPF\0', 'latin1'), body]));
}
