/** The two ways of a file into the bucket that are compared, as their clients speak them. */

const TUS = { 'tus-resumable': '1.0.0' };
/** As a browser does it by default: three parts at once. */
const PARTS_AT_ONCE = 3;

export interface Way {
  name: 'through the server (tus)' | 'direct (presigned parts)';
  /** Resolves when the upload is finished, with the address of the original. */
  upload(origin: string, file: Buffer): Promise<string>;
}

export const WAYS: readonly Way[] = [
  { name: 'through the server (tus)', upload: uploadByTus },
  { name: 'direct (presigned parts)', upload: uploadDirectly },
];

async function uploadByTus(origin: string, file: Buffer): Promise<string> {
  const created = await expectOk(
    fetch(`${origin}/files`, { method: 'POST', headers: { ...TUS, 'upload-length': String(file.length) } }),
  );
  const url = new URL(created.headers.get('location') ?? '', origin).href;
  await expectOk(
    fetch(url, {
      method: 'PATCH',
      headers: { ...TUS, 'upload-offset': '0', 'content-type': 'application/offset+octet-stream' },
      body: file,
    }),
  );
  return url;
}

async function uploadDirectly(origin: string, file: Buffer): Promise<string> {
  const { key, uploadId, partSize } = await postJson(`${origin}/s3/multipart`, {
    filename: 'bench.bin',
    type: 'application/octet-stream',
    size: file.length,
    metadata: {},
  });
  const size = partSize ?? 8 * 1024 * 1024;
  const address = `${origin}/s3/multipart/${uploadId}`;
  const query = `key=${encodeURIComponent(key)}`;
  const parts: { PartNumber: number; ETag: string }[] = [];
  const count = Math.ceil(file.length / size);
  let next = 1;
  async function sendParts(): Promise<void> {
    for (let number = next++; number <= count; number = next++) {
      const signed = await (await expectOk(fetch(`${address}/${number}?${query}`))).json();
      const body = file.subarray((number - 1) * size, number * size);
      const sent = await expectOk(fetch((signed as { url: string }).url, { method: 'PUT', body }));
      parts.push({ PartNumber: number, ETag: sent.headers.get('etag') ?? '' });
    }
  }
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, sendParts));
  parts.sort((a, b) => a.PartNumber - b.PartNumber);
  const { location } = await postJson(`${address}/complete?${query}`, { parts });
  return location;
}

async function postJson(url: string, body: unknown) {
  const answer = await expectOk(
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  );
  return (await answer.json()) as {
    key: string;
    uploadId: string;
    partSize: number | null;
    location: string;
  };
}

async function expectOk(answering: Promise<Response>): Promise<Response> {
  const answer = await answering;
  if (answer.ok) return answer;
  throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`);
}
