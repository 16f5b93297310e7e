import http from 'node:http';

export interface HttpReply {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/** One plain HTTP request on a connection of its own; nothing is added to the headers but Host. */
export function request(
  method: string,
  url: string,
  headers: http.OutgoingHttpHeaders = {},
  body?: Buffer | string,
): Promise<HttpReply> {
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method, headers, agent: false }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('end', () =>
        resolve({ status: res.statusCode as number, headers: res.headers, body: Buffer.concat(chunks) }),
      );
      res.on('error', reject);
    });
    req.on('error', reject);
    req.end(body);
  });
}

export const TUS = { 'Tus-Resumable': '1.0.0' };
export const PATCH_TYPE = { 'Content-Type': 'application/offset+octet-stream' };

/** Creates an upload and returns its absolute URL. */
export async function createUpload(
  filesUrl: string,
  size: number | 'deferred',
  headers: http.OutgoingHttpHeaders = {},
): Promise<string> {
  const length = size === 'deferred' ? { 'Upload-Defer-Length': '1' } : { 'Upload-Length': String(size) };
  const reply = await request('POST', filesUrl, { ...TUS, ...length, ...headers });
  if (reply.status !== 201) throw new Error(`creation failed: ${reply.status} ${reply.body.toString()}`);
  return new URL(reply.headers.location as string, filesUrl).href;
}

export function patch(
  url: string,
  offset: number,
  body: Buffer | string,
  headers: http.OutgoingHttpHeaders = {},
): Promise<HttpReply> {
  return request('PATCH', url, { ...TUS, ...PATCH_TYPE, 'Upload-Offset': String(offset), ...headers }, body);
}

export function head(url: string, headers: http.OutgoingHttpHeaders = {}): Promise<HttpReply> {
  return request('HEAD', url, { ...TUS, ...headers });
}
