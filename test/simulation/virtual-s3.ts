import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { type S3Failure, type S3Port, S3PortError } from '../../stores/s3/port.ts';
import type { VirtualProcess } from './virtual-process.ts';
import type { World } from './world.ts';

interface StoredObject {
  body: Buffer;
  etag: string;
  modifiedAtMs: number;
}

interface Multipart {
  key: string;
  initiatedAtMs: number;
  parts: Map<number, { body: Buffer; etag: string }>;
}

/** A strongly consistent S3 in memory, strict as Ceph is, whose every call may fail in every way. */
export class VirtualS3 {
  readonly objects = new Map<string, StoredObject>();
  readonly multiparts = new Map<string, Multipart>();
  /** Sees every object that completion makes, and every part and tail that is stored. */
  onComplete: (key: string, body: Buffer) => void = () => undefined;
  onTail: (key: string, body: Buffer) => void = () => undefined;
  readonly #world: World;
  #etags = 0;
  #ids = 0;

  constructor(world: World) {
    this.#world = world;
  }

  portFor(process: VirtualProcess): S3Port {
    const read = <T>(name: string, effect: () => T) => this.#call(process, name, effect, false);
    const write = <T>(name: string, effect: () => T) => this.#call(process, name, effect, true);
    return {
      putObject: ({ key, body, ifMatch, ifNoneMatch }) =>
        write(`PUT ${key}${describeInfo(key, body as Buffer)}${ifMatch ? ' if-match' : ''}`, () => {
          const there = this.objects.get(key);
          if (ifNoneMatch !== undefined && there !== undefined) fail('precondition_failed');
          if (ifMatch !== undefined && there?.etag !== ifMatch) fail('precondition_failed');
          return this.put(key, Buffer.from(body as Buffer));
        }),
      getObject: (key) =>
        read(`GET ${key}`, () => {
          const object = this.objects.get(key) ?? fail('not_found');
          return { body: object.body, etag: object.etag };
        }),
      streamObject: (key, { start, end }) =>
        read(`GET ${key} ${start}-${end}`, () => {
          const object = this.objects.get(key) ?? fail('not_found');
          return Readable.from([object.body.subarray(start, end + 1)]);
        }),
      headObject: (key) =>
        read(`HEAD ${key}`, () => {
          const object = this.objects.get(key) ?? fail('not_found');
          return { size: object.body.length, etag: object.etag, modifiedAtMs: object.modifiedAtMs };
        }),
      deleteObject: (key) => write(`DELETE ${key}`, () => void this.objects.delete(key)),
      deleteObjects: (keys) =>
        write(`DELETE ${keys.join(' ')}`, () => {
          for (const key of keys) this.objects.delete(key);
        }),
      listObjects: ({ prefix, delimiter }) => read(`LIST ${prefix}`, () => this.#list(prefix, delimiter)),
      createMultipartUpload: (key) =>
        write('CreateMultipartUpload', () => {
          this.#ids += 1;
          const multipartId = `U${this.#ids}`;
          const initiatedAtMs = this.#world.scheduler.nowMs;
          this.multiparts.set(multipartId, { key, initiatedAtMs, parts: new Map() });
          return { multipartId };
        }),
      uploadPart: (_key, multipartId, partNumber, body) =>
        write(`UploadPart ${multipartId} #${partNumber} ${body.length} bytes`, () => {
          const bytes = Buffer.from(body as Buffer);
          const part = { body: bytes, etag: this.#etag(bytes) };
          this.#multipart(multipartId).parts.set(partNumber, part);
          return { etag: part.etag };
        }),
      uploadPartCopy: () => Promise.reject(new S3PortError('refused', 'not part of this simulation')),
      copyObject: () => Promise.reject(new S3PortError('refused', 'not part of this simulation')),
      listParts: (_key, multipartId, after) =>
        read(`ListParts ${multipartId} after ${after}`, () => this.#listParts(multipartId, after)),
      completeMultipartUpload: (key, multipartId, parts) =>
        write(`Complete ${multipartId} [${parts.map(({ partNumber }) => partNumber)}]`, () =>
          this.#complete(key, multipartId, parts),
        ),
      abortMultipartUpload: (_key, multipartId) =>
        write(`Abort ${multipartId}`, () => {
          this.#multipart(multipartId);
          this.multiparts.delete(multipartId);
        }),
      listMultipartUploads: (prefix) =>
        read('ListMultipartUploads', () => ({
          uploads: [...this.multiparts]
            .filter(([, { key }]) => key.startsWith(prefix))
            .map(([multipartId, { key, initiatedAtMs }]) => ({ key, multipartId, initiatedAtMs })),
          nextMarker: undefined,
        })),
      checkBucket: () => read('HEAD bucket', () => undefined),
      close: () => undefined,
    };
  }

  put(key: string, body: Buffer): { etag: string } {
    const etag = this.#etag(body);
    this.objects.set(key, { body, etag, modifiedAtMs: this.#world.scheduler.nowMs });
    if (key.includes('.tail/')) this.onTail(key, body);
    return { etag };
  }

  #etag(body: Buffer): string {
    this.#etags += 1;
    return this.#world.weather.opaqueEtags
      ? `"opaque-${this.#etags}"`
      : `"${createHash('md5').update(body).digest('hex')}"`;
  }

  #multipart(multipartId: string): Multipart {
    return this.multiparts.get(multipartId) ?? fail('no_such_upload');
  }

  #list(prefix: string, delimiter: string | undefined) {
    const objects = [];
    const prefixes = new Set<string>();
    for (const key of [...this.objects.keys()].filter((name) => name.startsWith(prefix)).sort()) {
      const end = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length);
      const object = this.objects.get(key) as StoredObject;
      if (end >= 0) prefixes.add(key.slice(0, end + 1));
      else objects.push({ key, size: object.body.length, modifiedAtMs: object.modifiedAtMs });
    }
    return { objects, prefixes: [...prefixes], continuation: undefined };
  }

  /** In pages of two, so that paging is part of every history. */
  #listParts(multipartId: string, after: number) {
    const numbers = [...this.#multipart(multipartId).parts.keys()]
      .filter((partNumber) => partNumber > after)
      .sort((a, b) => a - b);
    const page = numbers.slice(0, 2);
    const parts = page.map((partNumber) => {
      const { body, etag } = this.#multipart(multipartId).parts.get(partNumber) as {
        body: Buffer;
        etag: string;
      };
      return { partNumber, size: body.length, etag };
    });
    return { parts, nextAfter: numbers.length > 2 ? page[1] : undefined };
  }

  #complete(key: string, multipartId: string, list: readonly { partNumber: number; etag: string }[]): void {
    const multipart = this.#multipart(multipartId);
    const bodies = list.map(({ partNumber, etag }) => {
      const part = multipart.parts.get(partNumber);
      if (part === undefined || part.etag !== etag) fail('invalid_part');
      return part.body;
    });
    // Ceph refuses a subset of the parts.
    if (multipart.parts.size !== list.length || list.length === 0) fail('invalid_part');
    const body = Buffer.concat(bodies);
    this.multiparts.delete(multipartId);
    this.onComplete(key, body);
    const { scheduler, weather } = this.#world;
    if (!weather.slowCompletion) this.put(key, body);
    else scheduler.at(scheduler.below(60), () => void this.put(key, body));
  }

  /** One call: after a while it has its effect, and after another while its answer arrives; or things go wrong. */
  #call<T>(process: VirtualProcess, name: string, effect: () => T, isWrite: boolean): Promise<T> {
    const { scheduler, weather } = this.#world;
    const log = (what: string) => this.#world.log(`S3 ${process.name} ${name} ${what}`);
    return process.ask<T>((answer) => {
      let toServer = 1 + scheduler.below(4);
      const toClient = 1 + scheduler.below(3);
      const isFaulty = this.#world.isFaulty();
      if (isFaulty && weather.slow && scheduler.chance(0.4))
        toServer += scheduler.below(weather.storm ? 25 : 50);
      const luck = isFaulty ? scheduler.random() / weather.faultProbability : 99;
      const run = (): T | Error => {
        try {
          return effect();
        } catch (error) {
          if (error instanceof S3PortError) return error;
          throw error;
        }
      };
      const ambiguous = (what: string) => new S3PortError('ambiguous', what);
      if (luck < 1) {
        scheduler.at(toServer, () => {
          log('FAILS before its effect');
          answer(ambiguous('503'));
        });
      } else if (luck < 2) {
        scheduler.at(toServer, () => {
          run();
          log('takes effect, then FAILS');
          scheduler.at(toClient, () => answer(ambiguous('500')));
        });
      } else if (luck < 3 && isWrite) {
        const late = 20 + scheduler.below(scheduler.chance(0.3) ? 600 : 120);
        scheduler.at(15, () => {
          log('TIMES OUT');
          answer(ambiguous('timeout'));
        });
        scheduler.at(15 + late, () => {
          const outcome = run();
          log(`takes effect LATE ${outcome instanceof Error ? outcome.message : ''}`);
        });
      } else {
        if (luck < 4) toServer += scheduler.below(40);
        scheduler.at(toServer, () => {
          const outcome = run();
          log(outcome instanceof Error ? `-> ${outcome.message}` : '');
          scheduler.at(toClient, () => answer(outcome));
        });
      }
    });
  }
}

function fail(failure: S3Failure): never {
  throw new S3PortError(failure, failure);
}

function describeInfo(key: string, body: Buffer): string {
  return key.endsWith('.info') ? ` ${body.toString()}` : '';
}
