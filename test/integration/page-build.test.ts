import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseDockerfile } from '../support/parse-dockerfile.ts';

/*
 * How the browser page is built, in a copy of its sources: as `npm start` does before it starts the server. What is
 * copied is what the image has when it builds the page, and no more.
 */

const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-build-'));
  const filter = (path: string) => path !== join(ROOT, 'web/dist');
  for (const name of await sourcesInImage()) {
    await cp(join(ROOT, name), join(directory, name), { recursive: true, filter });
  }
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function sourcesInImage(): Promise<string[]> {
  const stages = parseDockerfile(await readFile(join(ROOT, 'Dockerfile'), 'utf8'));
  const stage = stages.find((instructions) => instructions.some(({ rest }) => rest === 'node web/build.ts'));
  const copies = stage?.filter(({ name }) => name === 'COPY') ?? [];
  return copies.flatMap(({ rest }) => rest.split(' ').slice(0, -1));
}

const build = () => run(process.execPath, ['web/build.ts'], { cwd: directory });
const built = (name: string) => join(directory, 'web/dist/page', name);

it('without Vite nothing is built, and nothing is wrong', async () => {
  expect(await build()).toEqual({ stdout: '', stderr: '' });
  await expect(stat(join(directory, 'web/dist'))).rejects.toThrow('ENOENT');
});

it('with Vite all of it, asking nobody else for anything; and no second time', async () => {
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  expect(await build()).toEqual({ stdout: '', stderr: '' });
  for (const page of ['index.html', 'gallery.html']) {
    const html = await readFile(built(page), 'utf8');
    const references = [...html.matchAll(/ (?:src|href)="([^"]+)"/g)].map(([, address]) => address);
    expect(references.filter((address) => address?.startsWith('./assets/')).length).toBeGreaterThan(2);
    expect(references.filter((address) => /^(?:https?:)?\/\//.test(address ?? ''))).toEqual([]);
    // The Content-Security-Policy would refuse them.
    expect(html).not.toMatch(/<script(?![^>]* src=)|<style| style=/);
  }
  const assets = await readdir(built('assets'));
  const script = assets.find((name) => /^index-.*\.js$/.test(name)) as string;
  const bytes = await readFile(built(`assets/${script}`));
  expect(gunzipSync(await readFile(built(`assets/${script}.gz`)))).toEqual(bytes);
  expect(brotliDecompressSync(await readFile(built(`assets/${script}.br`)))).toEqual(bytes);
  expect(assets.some((name) => name.startsWith('digest-worker-'))).toBe(true);

  const { ctimeMs } = await stat(built('index.html'));
  await build();
  expect((await stat(built('index.html'))).ctimeMs).toBe(ctimeMs);
  expect(await readdir(join(directory, 'web/dist'))).toEqual(['page']);
});
