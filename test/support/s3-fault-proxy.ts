import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** One S3 call as the proxy sees it. */
export interface S3Call {
  operation: string;
  /** The key, without the bucket. */
  key: string;
  partNumber: number | undefined;
  headers: http.IncomingHttpHeaders;
  /** Bytes of the request's body. */
  bodyBytes: number;
  /** What the client got; 0: no answer. */
  status: number;
}

/**
 * What goes wrong. `status`: an error answer, `before` the call reached S3 or `after` it took effect. `reset`: the
 * connection breaks. `delay`: S3 is slow. `wait`: the call reaches S3 only when something else has happened. `truncate`: the answer breaks off after so many bytes. `late`: the
 * client gets 504 now and the call takes effect only when the returned release is called.
 */
export type Fault =
  | { kind: 'status'; status: number; when: 'before' | 'after' }
  | { kind: 'reset'; when: 'before' | 'after' }
  | { kind: 'delay'; ms: number }
  | { kind: 'wait'; until: Promise<unknown> }
  | { kind: 'truncate'; bytes: number }
  | { kind: 'late'; until: Promise<void> };

export interface S3FaultProxy {
  endpoint: string;
  /** Every call so far, in the order in which they ended. */
  calls: S3Call[];
  /** Decides what goes wrong with a call; undefined: nothing. */
  fault: ((call: Readonly<S3Call>) => Fault | undefined) | undefined;
  /** Calls that are answered late and have not taken effect yet. */
  readonly pending: number;
  close(): Promise<void>;
}

/** Stands in front of a real S3 server. Signatures stay valid: the Host header is passed on as it came. */
export async function startS3FaultProxy(target: string): Promise<S3FaultProxy> {
  const { hostname, port } = new URL(target);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  let pending = 0;
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('error', () => undefined);
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const call = describeCall(request, body.length);
      void answer(request, response, body, call, proxy.fault?.(call));
    });
  });

  async function answer(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    body: Buffer,
    call: S3Call,
    fault: Fault | undefined,
  ): Promise<void> {
    if (fault?.kind === 'status' && fault.when === 'before') return sendError(response, call, fault.status);
    if (fault?.kind === 'reset' && fault.when === 'before') return reset(request, call);
    if (fault?.kind === 'late') {
      pending += 1;
      void fault.until
        .then(() => forward(request, body))
        .catch(() => undefined)
        .finally(() => (pending -= 1));
      return sendError(response, call, 504);
    }
    if (fault?.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, fault.ms));
    if (fault?.kind === 'wait') await fault.until.catch(() => undefined);
    let upstream: Awaited<ReturnType<typeof forward>>;
    try {
      upstream = await forward(request, body);
    } catch {
      return reset(request, call);
    }
    if (fault?.kind === 'status') return sendError(response, call, fault.status);
    if (fault?.kind === 'reset') return reset(request, call);
    call.status = upstream.status;
    proxy.calls.push(call);
    const headers = { ...upstream.headers };
    delete headers['transfer-encoding'];
    if (request.method !== 'HEAD') headers['content-length'] = String(upstream.body.length);
    response.writeHead(upstream.status, headers);
    if (fault?.kind === 'truncate') {
      response.write(upstream.body.subarray(0, fault.bytes), () => request.socket.destroy());
      return;
    }
    response.end(upstream.body);
  }

  function sendError(response: http.ServerResponse, call: S3Call, status: number): void {
    call.status = status;
    proxy.calls.push(call);
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>InternalError</Code><Message>injected</Message></Error>`);
  }

  function reset(request: http.IncomingMessage, call: S3Call): void {
    proxy.calls.push(call);
    request.socket.resetAndDestroy();
  }

  function forward(
    request: http.IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const upstream = http.request(
        { hostname, port, agent, method: request.method, path: request.url, headers: request.headers },
        (answered) => {
          const chunks: Buffer[] = [];
          answered.on('data', (chunk: Buffer) => chunks.push(chunk));
          answered.on('error', reject);
          answered.on('end', () =>
            resolve({
              status: answered.statusCode ?? 0,
              headers: answered.headers,
              body: Buffer.concat(chunks),
            }),
          );
        },
      );
      upstream.on('error', reject);
      upstream.end(body);
    });
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: S3FaultProxy = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    fault: undefined,
    get pending() {
      return pending;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      agent.destroy();
    },
  };
  return proxy;
}

/** Fails the first `times` calls that match. */
export function failing(
  matches: (call: Readonly<S3Call>) => boolean,
  fault: Fault,
  times = Number.POSITIVE_INFINITY,
): (call: Readonly<S3Call>) => Fault | undefined {
  let left = times;
  return (call) => {
    if (left <= 0 || !matches(call)) return undefined;
    left -= 1;
    return fault;
  };
}

function describeCall(request: http.IncomingMessage, bodyBytes: number): S3Call {
  const url = new URL(request.url ?? '/', 'http://s3');
  const key = decodeURIComponent(url.pathname.split('/').slice(2).join('/'));
  const partNumber = url.searchParams.get('partNumber');
  return {
    operation: nameOperation(request, url.searchParams, key),
    key,
    partNumber: partNumber === null ? undefined : Number(partNumber),
    headers: request.headers,
    bodyBytes,
    status: 0,
  };
}

function nameOperation(request: http.IncomingMessage, query: URLSearchParams, key: string): string {
  const isPart = query.has('uploadId');
  switch (request.method) {
    case 'GET':
      if (key === '') return query.has('uploads') ? 'ListMultipartUploads' : 'ListObjects';
      return isPart ? 'ListParts' : 'GetObject';
    case 'HEAD':
      return key === '' ? 'HeadBucket' : 'HeadObject';
    case 'PUT':
      return isPart ? 'UploadPart' : 'PutObject';
    case 'POST':
      if (query.has('uploads')) return 'CreateMultipartUpload';
      return query.has('delete') ? 'DeleteObjects' : 'CompleteMultipartUpload';
    case 'DELETE':
      return isPart ? 'AbortMultipartUpload' : 'DeleteObject';
    default:
      return request.method ?? '';
  }
}
