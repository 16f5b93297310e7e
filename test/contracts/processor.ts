import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { sniffMediaType } from '../../processors/sniff.ts';
import type { ProcessedMedia, ProcessOptions, Processor } from '../../processors/types.ts';
import { temporaryDirectory } from '../support/processing.ts';
import { LIMITS, SETTINGS as USUAL_SETTINGS } from '../support/processing-defaults.ts';

/** Small previews: what they look like is not what this is about. */
const SETTINGS = { ...USUAL_SETTINGS, previewPixels: 600 };
/** The processes are niced: they wait for all other tests that run. */
const TIMEOUT_MS = 60_000;

export interface ProcessorCase {
  processor: Pick<Processor, 'accepts' | 'process'>;
  mediaType: string;
  /** A file of which it makes previews. */
  makeInput(): Promise<Buffer>;
}

/** What every processor does, with a file of each kind that it takes. */
export function processorContract(name: string, { processor, mediaType, makeInput }: ProcessorCase): void {
  describe(name, { timeout: TIMEOUT_MS }, () => {
    let bytes: Buffer;
    beforeAll(async () => {
      bytes = await makeInput();
    });

    async function run(input: Buffer, change: Partial<ProcessOptions> = {}) {
      const directory = await temporaryDirectory();
      const [inputPath, outDir] = [join(directory, 'original'), join(directory, 'previews')];
      await writeFile(inputPath, input, { mode: 0o400 });
      await mkdir(outDir);
      const { signal } = new AbortController();
      const options = { mediaType, outDir, limits: LIMITS, settings: SETTINGS, signal, ...change };
      const media = await processor.process(inputPath, options);
      return { media, directory, inputPath, outDir };
    }

    const digests = ({ previews }: ProcessedMedia) =>
      Promise.all(
        previews.map(async ({ path }) =>
          createHash('sha256')
            .update(await readFile(path))
            .digest('hex'),
        ),
      );

    test('takes its own kind only', () => {
      expect(processor.accepts(mediaType)).toBe(true);
      expect(processor.accepts('application/x-landfall-test')).toBe(false);
    });

    test('leaves previews in its directory, nothing elsewhere, and says what they are', async () => {
      const { media, directory, inputPath, outDir } = await run(bytes);
      expect(media.previews.length).toBeGreaterThan(0);
      expect((await readdir(directory)).sort()).toEqual(['original', 'previews']);
      expect((await readdir(outDir)).map((file) => join(outDir, file)).sort()).toEqual(
        media.previews.map(({ path }) => path).sort(),
      );
      expect((await readFile(inputPath)).equals(bytes)).toBe(true);
      for (const { path, contentType, variant, page, width, height } of media.previews) {
        expect(sniffMediaType(await readFile(path))).toBe(contentType);
        expect(page === undefined).toBe(variant !== 'page');
        if (!contentType.startsWith('image/')) continue;
        const longest = variant === 'thumb' ? SETTINGS.thumbPixels : SETTINGS.previewPixels;
        expect(Math.max(width!, height!)).toBeLessThanOrEqual(longest);
        expect(Math.min(width!, height!)).toBeGreaterThan(0);
      }
      expect(Buffer.from(media.placeholder!, 'base64').length).toBeLessThan(32);
    });

    test('makes the same of the same, if it may write so much', async () => {
      const one = await run(bytes);
      const sizes = await Promise.all(one.media.previews.map(async ({ path }) => (await stat(path)).size));
      const outputBytes = sizes.reduce((sum, size) => sum + size, 0);
      const other = await run(bytes, { limits: { ...LIMITS, outputBytes } });
      expect(await digests(other.media)).toEqual(await digests(one.media));
      const comparable = ({ media, outDir }: typeof one) => {
        const { previews, width, height, frames, pages, durationMs, placeholder, missing } = media;
        const names = previews.map((preview) => ({ ...preview, path: preview.path.slice(outDir.length) }));
        return { names, width, height, frames, pages, durationMs, placeholder, missing };
      };
      expect(comparable(other)).toEqual(comparable(one));
    });

    test('writes no more than it may', async () => {
      await expect(run(bytes, { limits: { ...LIMITS, outputBytes: 1 } })).rejects.toMatchObject({
        name: 'ProcessorError',
        code: 'too_large',
      });
    });

    test('does nothing for somebody who has left', async () => {
      const reason = new Error('no longer wanted');
      await expect(run(bytes, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    });

    test('fails with a code where the file is empty, or noise', async () => {
      const noise = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 7919 + 13) % 251));
      for (const broken of [Buffer.alloc(0), Buffer.concat([bytes.subarray(0, 16), noise])]) {
        await expect(run(broken)).rejects.toMatchObject({
          name: 'ProcessorError',
          code: expect.stringMatching(/^(?:corrupt|unsupported)$/),
        });
      }
    });
  });
}
