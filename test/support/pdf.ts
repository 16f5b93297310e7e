/** The body of a PDF object, such as `<< /Type /Catalog /Pages 2 0 R >>`; objects are numbered from 1. */
export type PdfObject = string | Buffer;

/** A PDF of these objects, the first of them the catalog, with a correct cross-reference table. */
export function buildPdf(objects: readonly PdfObject[], trailer = ''): Buffer {
  const chunks: Buffer[] = [Buffer.from('%PDF-1.7\n%\xe2\xe3\xcf\xd3\n', 'latin1')];
  let length = chunks[0]!.length;
  const add = (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
  };
  const offsets = objects.map((object, index) => {
    const offset = length;
    const body = typeof object === 'string' ? Buffer.from(object, 'latin1') : object;
    add(Buffer.concat([Buffer.from(`${index + 1} 0 obj\n`), body, Buffer.from('\nendobj\n')]));
    return offset;
  });
  const startOfTable = length;
  const rows = offsets.map((offset) => `${String(offset).padStart(10, '0')} 00000 n \n`).join('');
  const size = objects.length + 1;
  add(Buffer.from(`xref\n0 ${size}\n0000000000 65535 f \n${rows}`));
  add(
    Buffer.from(`trailer\n<< /Size ${size} /Root 1 0 R ${trailer} >>\nstartxref\n${startOfTable}\n%%EOF\n`),
  );
  return Buffer.concat(chunks);
}

export function pdfStream(content: string | Buffer, dictionary = ''): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
  return Buffer.concat([
    Buffer.from(`<< /Length ${bytes.length} ${dictionary} >>\nstream\n`),
    bytes,
    Buffer.from('\nendstream'),
  ]);
}

export interface Rectangle {
  /** 0 to 255. */
  color: readonly [red: number, green: number, blue: number];
  /** Points from the lower left corner of the page, as PDF counts. */
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface PdfPage {
  /** Points. */
  width: number;
  height: number;
  rectangles: readonly Rectangle[];
}

/** A PDF whose pages show nothing but rectangles. */
export function pdfOfPages(pages: readonly PdfPage[]): Buffer {
  const objects: PdfObject[] = ['<< /Type /Catalog /Pages 2 0 R >>', ''];
  const kids = pages.map(({ width, height, rectangles }) => {
    objects.push(pdfStream(rectangles.map(drawRectangle).join('')));
    const content = objects.length;
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${width} ${height}] /Contents ${content} 0 R >>`,
    );
    return `${objects.length} 0 R`;
  });
  objects[1] = `<< /Type /Pages /Count ${pages.length} /Kids [${kids.join(' ')}] >>`;
  return buildPdf(objects);
}

function drawRectangle({ color, x, y, width, height }: Rectangle): string {
  return `${color.map((part) => (part / 255).toFixed(4)).join(' ')} rg ${x} ${y} ${width} ${height} re f\n`;
}
