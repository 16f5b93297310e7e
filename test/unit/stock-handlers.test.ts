import { readFileSync } from 'node:fs';
import { Server } from '@tus/server';
import { DataStore, ERRORS, Upload } from '@tus/utils';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import {
  createStockHandlers,
  isStockError,
  type StockMethod,
  type StockRequestPort,
} from '../../server/tus/stock-handlers.ts';

/*
 * The contract of the seam into @tus/server. When an upgrade fails here, read what changed in its handlers, then
 * server/tus/stock-handlers.ts, and only then move the pinned version.
 */

const ID = 'A'.repeat(32);
const EXTENSIONS = ['creation', 'creation-defer-length', 'creation-with-upload', 'termination'];

function readPackage(path: string): { version: string; dependencies: Record<string, string> } {
  return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
}

/** A store that must never be reached: ours is given per request. */
class ForbiddenStore extends DataStore {
  override extensions = EXTENSIONS;
  override create = () => this.#fail('create');
  override getUpload = () => this.#fail('getUpload');
  override write = () => this.#fail('write');
  override remove = () => this.#fail('remove');
  override declareUploadLength = () => this.#fail('declareUploadLength');

  #fail(method: string): never {
    throw new Error(`the handler used the store of the server: ${method}`);
  }
}

/** Every call that a handler makes, in order. */
let calls: string[];
let upload: Upload;

beforeEach(() => {
  calls = [];
  upload = new Upload({ id: ID, size: 10, offset: 5 });
});

function portFor(method: StockMethod, headers: Record<string, string>, maxSize = 0): StockRequestPort {
  const signal = new AbortController().signal;
  const lock = { lock: async () => {}, unlock: async () => void calls.push('unlock') };
  return {
    method,
    id: ID,
    maxSize,
    header: (name) => {
      expect(name).toBe(name.toLowerCase());
      return headers[name];
    },
    context: { signal, abort: () => void calls.push('abort'), cancel: () => void calls.push('cancel') },
    location: (id) => `/here/${id}`,
    store: {
      extensions: EXTENSIONS,
      hasExtension: (extension) => EXTENSIONS.includes(extension),
      getExpiration: () => 0,
      create: async (given) => {
        calls.push(`create ${given.id} ${given.size}`);
        return given;
      },
      getUpload: async (id) => {
        calls.push(`getUpload ${id}`);
        return upload;
      },
      declareUploadLength: async (id, size) => void calls.push(`declareUploadLength ${id} ${size}`),
      remove: async (id) => void calls.push(`remove ${id}`),
    },
    acquireLock: async () => {
      calls.push('acquireLock');
      return lock;
    },
    writeBody: async (maxBodySize) => {
      calls.push(`writeBody ${maxBodySize}`);
      return 8;
    },
  };
}

const handlers = createStockHandlers(new ForbiddenStore(), '/files');
const TYPE = { 'content-type': 'application/offset+octet-stream' };

it('runs on exactly the version that it was read for', () => {
  const own = readPackage('../../package.json');
  for (const name of ['@tus/server', '@tus/utils']) {
    const installed = readPackage(`../../node_modules/${name}/package.json`).version;
    expect([name, own.dependencies[name]]).toEqual([name, installed]);
  }
  expect(own.dependencies['@tus/server']).toBe('2.4.5');
});

describe('every method of ours is what the handler uses, once, between lock and unlock', () => {
  it('PATCH', async () => {
    const port = portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'content-length': '3' });
    const response = await handlers.handle(port);
    expect(calls).toEqual(['acquireLock', `getUpload ${ID}`, 'writeBody 3', 'unlock']);
    expect([response.status, response.headers.get('upload-offset')]).toEqual([204, '8']);
  });

  it('PATCH with a chunked body: no more than the rest of the upload', async () => {
    await handlers.handle(portFor('PATCH', { ...TYPE, 'upload-offset': '5' }));
    expect(calls).toContain('writeBody 5');
  });

  it('PATCH of a deferred upload: no more than the configured maximum', async () => {
    upload = new Upload({ id: ID, offset: 5 });
    await handlers.handle(portFor('PATCH', { ...TYPE, 'upload-offset': '5' }, 100));
    expect(calls).toContain('writeBody 95');
  });

  it('PATCH that declares the length', async () => {
    upload = new Upload({ id: ID, offset: 5 });
    await handlers.handle(
      portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'upload-length': '20', 'content-length': '3' }),
    );
    expect(calls).toEqual([
      'acquireLock',
      `getUpload ${ID}`,
      `declareUploadLength ${ID} 20`,
      'writeBody 3',
      'unlock',
    ]);
  });

  it('PATCH at another offset: an error that we can tell, and nothing written', async () => {
    await expect(handlers.handle(portFor('PATCH', { ...TYPE, 'upload-offset': '4' }))).rejects.toBe(
      ERRORS.INVALID_OFFSET,
    );
    expect(calls).toEqual(['acquireLock', `getUpload ${ID}`, 'unlock', 'abort']);
  });

  it('PATCH of more than the rest', async () => {
    const port = portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'content-length': '6' });
    await expect(handlers.handle(port)).rejects.toBe(ERRORS.ERR_SIZE_EXCEEDED);
    expect(calls.filter((call) => call.startsWith('writeBody'))).toEqual([]);
  });

  it('POST', async () => {
    const response = await handlers.handle(portFor('POST', { 'upload-length': '10' }));
    expect(calls).toEqual(['acquireLock', `create ${ID} 10`, 'unlock']);
    expect([response.status, response.headers.get('location')]).toEqual([201, `/here/${ID}`]);
  });

  it('POST with a body', async () => {
    const port = portFor('POST', { ...TYPE, 'upload-length': '10', 'content-length': '8' });
    const response = await handlers.handle(port);
    expect(calls).toEqual(['acquireLock', `create ${ID} 10`, 'writeBody 8', 'unlock']);
    expect([response.status, response.headers.get('upload-offset')]).toEqual([201, '8']);
  });

  it('HEAD', async () => {
    const response = await handlers.handle(portFor('HEAD', {}));
    expect(calls).toEqual(['acquireLock', `getUpload ${ID}`, 'unlock']);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'cache-control': 'no-store',
      'upload-offset': '5',
      'upload-length': '10',
    });
  });

  it('DELETE', async () => {
    const response = await handlers.handle(portFor('DELETE', {}));
    expect(calls).toEqual(['acquireLock', `remove ${ID}`, 'unlock']);
    expect(response.status).toBe(204);
  });

  it('OPTIONS, without a lock', async () => {
    const response = await handlers.handle(portFor('OPTIONS', {}, 1000));
    expect(calls).toEqual([]);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'tus-version': '1.0.0',
      'tus-extension': EXTENSIONS.join(','),
      'tus-max-size': '1000',
    });
  });

  it('gives the lock back whatever fails', async () => {
    const port = portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'content-length': '3' });
    const failure = new Error('disk on fire');
    port.writeBody = async () => {
      throw failure;
    };
    await expect(handlers.handle(port)).rejects.toBe(failure);
    expect(calls).toContain('unlock');
  });

  it('keeps requests apart: two at once use their own store, lock and body', async () => {
    const first = portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'content-length': '1' });
    const second = portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'content-length': '2' });
    second.writeBody = async (maxBodySize) => {
      calls.push(`second ${maxBodySize}`);
      return 9;
    };
    const [one, two] = await Promise.all([handlers.handle(first), handlers.handle(second)]);
    expect([one.headers.get('upload-offset'), two.headers.get('upload-offset')]).toEqual(['8', '9']);
    expect(calls).toEqual(expect.arrayContaining(['writeBody 1', 'second 2']));
  });
});

describe('the body never becomes a web stream', () => {
  it('as it is, a handler of @tus/server reads `body` of its request, and the seam has none to read', async () => {
    const server = new Server({ path: '/files', datastore: new ForbiddenStore() });
    const readBody = vi.fn(() => null);
    const request = {
      method: 'PATCH',
      url: `http://localhost/files/${ID}`,
      headers: new Headers({ ...TYPE, 'upload-offset': '5', 'content-length': '3' }),
      get body() {
        return readBody();
      },
    };
    // The control: the handler as it comes, over the same store and lock, without our `writeToStore`.
    const { store, acquireLock } = portFor('PATCH', {});
    const stock = server.handlers.PATCH as unknown as Record<string, unknown> & {
      send(request: unknown, context: unknown): Promise<Response>;
    };
    const written = vi.fn(async () => 8);
    const control = Object.assign(Object.create(stock), {
      store: { ...store, write: written },
      acquireLock,
      options: { path: '/files' },
      getFileIdFromRequest: () => ID,
    }) as typeof stock;
    const context = { signal: new AbortController().signal, abort: () => {}, cancel: () => {} };
    await control.send(request, context);
    expect(readBody).toHaveBeenCalledTimes(1);
    expect(written).toHaveBeenCalledTimes(1);

    // Ours: `body` is there and null, and what is written is what `writeBody` says.
    calls = [];
    upload = new Upload({ id: ID, size: 10, offset: 5 });
    await handlers.handle(portFor('PATCH', { ...TYPE, 'upload-offset': '5', 'content-length': '3' }));
    expect(calls.filter((call) => call.startsWith('writeBody'))).toHaveLength(1);
  });

  it('the methods that we put ourselves in the place of exist on the handlers', () => {
    const server = new Server({ path: '/files', datastore: new ForbiddenStore() });
    for (const method of ['POST', 'HEAD', 'PATCH', 'DELETE', 'OPTIONS'] as const) {
      const handler = server.handlers[method] as unknown as Record<string, unknown>;
      for (const name of ['getFileIdFromRequest', 'generateUrl', 'acquireLock', 'writeToStore', 'send']) {
        expect([method, name, typeof handler[name]]).toEqual([method, name, 'function']);
      }
      expect([method, typeof handler.store, typeof handler.options]).toEqual([method, 'object', 'object']);
    }
  });
});

it('tells the plain objects that handlers throw from errors', () => {
  for (const error of Object.values(ERRORS)) expect(isStockError(error)).toBe(true);
  for (const error of [new Error('x'), null, undefined, 'x', { status_code: '404', body: 'x' }]) {
    expect(isStockError(error)).toBe(false);
  }
});
