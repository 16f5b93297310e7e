import { describe, expect, test } from 'vitest';
import { readEvents } from '../../web/page/event-stream.ts';
import { createDirectWire } from '../../web/uploader/direct-wire.ts';
import { createResumeStore, type KeyValueStorage } from '../../web/uploader/resume-store.ts';
import { createPartSigner } from '../../web/uploader/sign-parts.ts';

/* What the browser module asks and remembers, and how the page reads events. */

describe('addresses of parts', () => {
  function signer(count: number) {
    const asked: number[][] = [];
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    const result = createPartSigner({
      numbers,
      sign: async (batch) => {
        asked.push([...batch]);
        return new Map(batch.map((number) => [number, `url-${number}-${asked.length}`]));
      },
    });
    return { ...result, asked };
  }

  test('are asked for twenty at a time, in order', async () => {
    const { urlOf, asked } = signer(45);
    for (let number = 1; number <= 45; number++) expect(await urlOf(number)).toMatch(`url-${number}-`);
    expect(asked.map((batch) => [batch[0], batch.length])).toEqual([
      [1, 20],
      [21, 20],
      [41, 5],
    ]);
  });

  test('are asked for alone after one did not work', async () => {
    const { urlOf, drop, asked } = signer(45);
    await urlOf(1);
    drop(3);
    expect(await urlOf(3)).toBe('url-3-2');
    expect(asked[1]).toEqual([3]);
    await urlOf(4);
    expect(asked).toHaveLength(2);
  });

  test('parts that wait for the same batch share it, and its failure', async () => {
    let asked = 0;
    const { urlOf, drop } = createPartSigner({
      numbers: [1, 2],
      sign: async () => {
        asked += 1;
        throw new Error('cannot sign');
      },
    });
    const failures = await Promise.allSettled([urlOf(1), urlOf(2)]);
    expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(asked).toBe(1);
    drop(1);
    await expect(urlOf(1)).rejects.toThrow('cannot sign');
    expect(asked).toBe(2);
  });
});

describe('the wire of direct uploads', () => {
  const multipart = { key: 'a b/ü', uploadId: 'id.secret', id: 'id' };
  const signal = new AbortController().signal;

  function wireThat(answer: unknown) {
    const asked: string[] = [];
    const wire = createDirectWire(async (url, request = {}) => {
      asked.push(`${request.method ?? 'GET'} ${url} ${JSON.stringify(request.body) ?? ''}`.trim());
      return answer;
    }, 'https://up.example/s3');
    return { wire, asked };
  }

  test('is that of a Companion', async () => {
    const created = wireThat({ key: 'k', uploadId: 'u', id: 'i' });
    const file = { filename: 'f', type: 't', size: 9, partSize: 5, metadata: { group: 'g' } };
    expect(await created.wire.create(file, signal)).toEqual({ key: 'k', uploadId: 'u', id: 'i' });
    expect(created.asked).toEqual([`POST https://up.example/s3/multipart ${JSON.stringify(file)}`]);

    const signed = wireThat({ presignedUrls: { 1: 'https://b/1', 2: 'https://b/2' } });
    expect(await signed.wire.signParts(multipart, [1, 2], signal)).toEqual(
      new Map([
        [1, 'https://b/1'],
        [2, 'https://b/2'],
      ]),
    );
    expect(signed.asked).toEqual([
      'GET https://up.example/s3/multipart/id.secret/batch?partNumbers=1%2C2&key=a+b%2F%C3%BC',
    ]);

    const listed = wireThat([{ PartNumber: 2, ETag: '"e"', Size: 5 }]);
    expect(await listed.wire.listParts(multipart, signal)).toEqual([{ number: 2, etag: '"e"' }]);

    const completed = wireThat({ location: 'https://up.example/files/i' });
    expect(await completed.wire.complete(multipart, [{ number: 1, etag: 'e' }], signal)).toBe(
      'https://up.example/files/i',
    );
    expect(completed.asked[0]).toBe(
      'POST https://up.example/s3/multipart/id.secret/complete?key=a+b%2F%C3%BC {"parts":[{"PartNumber":1,"ETag":"e"}]}',
    );
  });

  test.each([undefined, {}, 'x', { key: 'k', uploadId: 5, id: 'i' }])(
    '%j is none of its answers',
    async (answer) => {
      const { wire } = wireThat(answer);
      const file = { filename: 'f', type: 't', size: 9, partSize: 5, metadata: {} };
      await expect(wire.create(file, signal)).rejects.toThrow(TypeError);
      await expect(wire.signParts(multipart, [1], signal)).rejects.toThrow(TypeError);
      await expect(wire.listParts(multipart, signal)).rejects.toThrow(TypeError);
      await expect(wire.complete(multipart, [], signal)).rejects.toThrow(TypeError);
    },
  );
});

describe('what is remembered of unfinished direct uploads', () => {
  function memoryStorage(
    entries: Record<string, string> = {},
  ): KeyValueStorage & { entries: Map<string, string> } {
    const map = new Map(Object.entries(entries));
    return {
      entries: map,
      getItem: (key) => map.get(key) ?? null,
      setItem: (key, value) => void map.set(key, value),
      removeItem: (key) => void map.delete(key),
      key: (index) => [...map.keys()][index] ?? null,
      get length() {
        return map.size;
      },
    };
  }
  const upload = { key: 'k', uploadId: 'u', id: 'i', partBytes: 5, keptAtMs: 1000 };

  test('is there for a later page, until it is forgotten', () => {
    const storage = memoryStorage();
    createResumeStore(storage, () => 1000).keep('f', upload);
    const later = createResumeStore(storage, () => 2000);
    expect(later.get('f')).toEqual(upload);
    expect(later.get('g')).toBeUndefined();
    later.forget('f');
    expect(storage.entries.size).toBe(0);
  });

  test('goes after a week, and with what is none of it', () => {
    const week = 7 * 24 * 3600 * 1000;
    const storage = memoryStorage({
      'landfall:direct:old': JSON.stringify(upload),
      'landfall:direct:broken': '{',
      'landfall:direct:strange': '{"key":1}',
      'landfall:direct:new': JSON.stringify({ ...upload, keptAtMs: week }),
      'somebody:else': 'x',
    });
    createResumeStore(storage, () => week + 1000);
    expect([...storage.entries.keys()]).toEqual(['landfall:direct:new', 'somebody:else']);
  });

  test('is nothing where there is no storage, or a full one', () => {
    const full = memoryStorage();
    full.setItem = () => {
      throw new DOMException('full', 'QuotaExceededError');
    };
    for (const storage of [undefined, full]) {
      const store = createResumeStore(storage, () => 1000);
      store.keep('f', upload);
      expect(store.get('f')).toBeUndefined();
    }
  });
});

describe('a stream of events', () => {
  async function read(...pieces: string[]) {
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const piece of pieces) controller.enqueue(encoder.encode(piece));
        controller.close();
      },
    });
    const events = [];
    for await (const event of readEvents(body, 'before')) events.push(event);
    return events;
  }

  test('is read whatever its lines end with, and wherever it is cut', async () => {
    const text =
      ': hello\nretry: 5\n\nid: 1\nevent: ready\ndata: {"a":1}\ndata: more\n\ndata:ü\n\nid: 3\n\ndata: x\n\nunfinished';
    const expected = [
      { id: '1', type: 'ready', data: '{"a":1}\nmore' },
      { id: '1', type: 'message', data: 'ü' },
      { id: '3', type: 'message', data: 'x' },
    ];
    expect(await read(text)).toEqual(expected);
    expect(await read(...text)).toEqual(expected);
    expect(await read(text.replaceAll('\n', '\r\n'))).toEqual(expected);
    expect(await read(...text.replaceAll('\n', '\r\n'))).toEqual(expected);
  });

  test('keeps the id from before until there is another', async () => {
    expect(await read('data: x\n\n')).toEqual([{ id: 'before', type: 'message', data: 'x' }]);
  });
});
