import type { NewUpload } from '../uploads/create-upload.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import type { FormPart } from './form-part.ts';
import { PartBody } from './part-body.ts';
import { metadataHeader } from './plain-metadata.ts';
import { concludeFile, type PlainRequest, type StoredFormFile } from './plain-request.ts';
import { discard } from './put-upload.ts';

/** One file of a form on its way into the store. */
export interface IncomingFile {
  /** Resolves when the store has room for more. Rejects with what ended the upload. */
  take(bytes: Buffer): Promise<void>;
  /** All bytes were given. Undefined: nothing was chosen in that input of the form. */
  end(): Promise<StoredFormFile | undefined>;
}

export interface FormFiles {
  /** @param fields what the form said before it */
  open(part: FormPart, fields: ReadonlyMap<string, Buffer>): IncomingFile;
  /** Removes every file: a form is stored whole or not at all. Waits until nothing is written any more. */
  discardAll(): Promise<void>;
  /** Gives the locks back. */
  close(): Promise<void>;
}

export interface FormFilesOptions {
  services: UploadServices;
  request: PlainRequest;
  /** Told at once when an upload ends before its bytes do: nobody should wait for the client then. */
  onFailure: (error: unknown) => void;
}

/**
 * The uploads of one form. Each stays locked until the form is answered, so that nobody takes up one that may have to
 * be removed again.
 */
export function createFormFiles({ services, request, onFailure }: FormFilesOptions): FormFiles {
  const { policy } = services;
  const holds: UploadHold[] = [];
  let active: { body: PartBody; received: Promise<void> } | undefined;

  async function start(part: FormPart, fields: ReadonlyMap<string, Buffer>) {
    const rawMetadata = metadataHeader(metadataOf(part, fields));
    const declared = describeUpload(parseUploadMetadata(rawMetadata)).declaredSha256Hex;
    const wanted: NewUpload = {
      size: undefined,
      rawMetadata,
      declaredDigest: declared === null ? undefined : { algorithm: 'sha-256', hex: declared },
      client: request.client,
    };
    const { id, fields: planned } = await planUpload(services, request.raw, wanted);
    const hold = new UploadHold(services, id, request.raw);
    await hold.lock(request.raw.socket);
    holds.push(hold);
    await hold.create(planned, undefined, { finishes: false });
    const body = new PartBody();
    const received = receive(hold, body);
    received.catch(onFailure).finally(() => body.abandon());
    active = { body, received };
    return { hold, body, received };
  }

  async function receive(hold: UploadHold, body: PartBody): Promise<void> {
    const limit = policy.maxSizeBytes ?? Number.MAX_SAFE_INTEGER;
    const end = await hold.receive(body, { limit, expectedBytes: undefined, finishes: false });
    if (end === 'limit') policy.checkSize(limit + 1);
    if (end !== 'end') throw hold.unfinishedBody(end);
  }

  return {
    open(part, fields) {
      let file: Awaited<ReturnType<typeof start>> | undefined;
      return {
        async take(bytes) {
          file ??= await start(part, fields);
          await file.body.give(bytes);
        },
        async end() {
          // HTML: an input in which no file was chosen is sent as one without a name and without bytes.
          if (file === undefined && part.filename === '') return undefined;
          file ??= await start(part, fields);
          file.body.finish();
          await file.received;
          active = undefined;
          const stored = await concludeFile(file.hold, request);
          return { ...stored, field: part.name, filename: part.filename || null };
        },
      };
    },

    async discardAll() {
      active?.body.destroy();
      await active?.received.catch(() => {});
      for (const hold of holds) if (hold.upload !== undefined) await discard(services, hold);
    },

    async close() {
      for (const hold of holds) await hold.unlock();
    },
  };
}

/** The form's fields, and what the file's own part says, which is nearer to it. */
function metadataOf(
  { filename, contentType }: FormPart,
  fields: ReadonlyMap<string, Buffer>,
): Map<string, string | Buffer> {
  const metadata = new Map<string, string | Buffer>(fields);
  if (filename !== undefined && filename !== '') metadata.set('filename', filename);
  if (contentType !== undefined) metadata.set('filetype', contentType);
  return metadata;
}
