import * as tus from 'tus-js-client';
import type { ShownUpload } from '../../client/shown-upload.ts';
import { request } from './tus.ts';

/** The Node build has it; its type declarations do not. */
export const { FileUrlStorage } = tus as unknown as {
  FileUrlStorage: new (path: string) => tus.UrlStorage;
};

/** Anything that the Node build reads from; its type declarations know of Buffers and readers only. */
export type UploadSource = Buffer | NodeJS.ReadableStream;

/**
 * Reads a Buffer and says that it is done only when asked for more than there is, as streams in browsers do: the client
 * learns that a chunk was the last one when it asks for the next.
 */
export const readerThatNeverKnows: tus.FileReader = {
  async openFile(input: Buffer) {
    return {
      size: null as unknown as number,
      async slice(start, end) {
        if (start >= input.length) return { value: null, done: true };
        const value = input.subarray(start, end);
        return { value: Object.assign(value, { size: value.length }), done: false };
      },
      close() {},
    };
  },
};

export interface ClientRequest {
  method: string;
  url: string;
  status: number;
  /** Request headers as tus-js-client set them. */
  header(name: string): string | undefined;
}

export interface ClientUpload {
  upload: tus.Upload;
  /** Every request that was answered, in order. */
  requests: ClientRequest[];
  /** Resolves with the upload's URL; rejects with what the client gave up on. */
  done: Promise<string>;
}

/** An upload by tus-js-client, not yet started. */
export function createClientUpload(source: UploadSource, options: tus.UploadOptions): ClientUpload {
  const requests: ClientRequest[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const upload = new tus.Upload(source as Buffer, {
    retryDelays: null,
    ...options,
    onAfterResponse: (req, res) => {
      requests.push({
        method: req.getMethod(),
        url: req.getURL(),
        status: res.getStatus(),
        header: (name) => req.getHeader(name),
      });
    },
    onSuccess: () => resolve(upload.url ?? ''),
    onError: reject,
  });
  promise.catch(() => {}); // an upload that is given up on purpose is not waited for
  return { upload, requests, done: promise };
}

export function startClientUpload(source: UploadSource, options: tus.UploadOptions): ClientUpload {
  const client = createClientUpload(source, options);
  client.upload.start();
  return client;
}

/** What the server says of the upload at this URL. */
export async function showUpload(origin: string, uploadUrl: string): Promise<ShownUpload> {
  const id = uploadUrl.slice(uploadUrl.lastIndexOf('/') + 1);
  const reply = await request('GET', `${origin}/uploads/${id}`);
  if (reply.status !== 200) throw new Error(`GET /uploads/${id}: ${reply.status}`);
  return JSON.parse(reply.body.toString()) as ShownUpload;
}
