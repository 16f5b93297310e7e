import { execFile, spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type CliHome, createCliHome, type UploadReport } from '../support/cli.ts';
import { fleetSettings } from '../support/fleet.ts';
import { heicOf, TINY_HEVC } from '../support/heic.ts';
import { installPackage, npmEnvironment } from '../support/installed-package.ts';
import { pdfOfPages } from '../support/pdf.ts';
import { type RedisServer, startRedis, until } from '../support/redis.ts';
import { type RunningServer, type StartServerOptions, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* The package as npm installs it: what was built of the sources, and no packages but those that it depends on. */

const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);
const BLUE: [number, number, number] = [32, 64, 192];

let directory: string;
let bin: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-installed-'));
  await installPackage(directory);
  bin = join(directory, 'node_modules/.bin/landfall');
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const serve = (options: StartServerOptions) =>
  startServer({ command: [process.execPath, bin, 'serve'], cwd: directory, ...options });

/** Uploads it, waits for all that is made of it, and reads the colour in the lower right of its best preview. */
async function previewOf(home: CliHome, name: string, bytes: Buffer): Promise<number[]> {
  await writeFile(join(home.directory, name), bytes);
  const { code, value } = await home.json<UploadReport>(['upload', '--checksum', 'sha256', name]);
  expect(value.uploads).toMatchObject([{ ok: true, sha256: sha256Hex(bytes) }]);
  expect(code).toBe(0);
  const { id } = value.uploads[0]!;
  const preview = await home.run(['download', '--preview', id, '-o', `${name}.preview`]);
  expect(preview.stderr + preview.stdout).toContain(`${name}.preview`);
  const original = await home.run(['download', id, '-o', `${name}.again`]);
  expect([original.code, original.stderr]).toEqual([0, '']);
  expect(await readFile(join(home.directory, `${name}.again`))).toEqual(bytes);
  const { data, info } = await sharp(join(home.directory, `${name}.preview`))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const at = (Math.floor(info.height * 0.75) * info.width + Math.floor(info.width * 0.75)) * 3;
  return [...data.subarray(at, at + 3)];
}

/** What the codecs may do to a colour. */
const near = (color: readonly number[]) =>
  color.map((channel) => expect.toSatisfy((seen: number) => Math.abs(seen - channel) < 10));

const bluePicture = () =>
  sharp({ create: { width: 640, height: 480, channels: 3, background: { r: 32, g: 64, b: 192 } } })
    .jpeg({ quality: 95 })
    .toBuffer();

test('it ships what was built of the sources, all that they find by its path, and none of them', async () => {
  const installed = join(directory, 'node_modules/landfall');
  const shipped = new Set(globSync('**/*', { cwd: installed }));
  expect([...shipped].filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))).toEqual([]);
  for (const path of globSync('{server,stores,processors,client,cli}/**/*.*', { cwd: ROOT })) {
    expect(shipped).toContain(join('dist', path.replace(/\.ts$/, '.js')));
    if (path.endsWith('.ts')) continue;
    expect(await readFile(join(installed, 'dist', path), 'utf8')).toBe(
      await readFile(join(ROOT, path), 'utf8'),
    );
  }
});

test('it serves, takes uploads, makes previews of them and shows its page, and ends with the npx that started it', async () => {
  const dataDir = join(directory, 'data');
  const command = ['npx', 'landfall', 'serve'] as const;
  const byNpx = await serve({ command, dataDir, env: npmEnvironment(directory) });
  const home = await createCliHome({ LANDFALL_URL: byNpx.origin }, bin);
  try {
    expect(await previewOf(home, 'blue.jpg', await bluePicture())).toEqual(near(BLUE));
    // Decoded in a thread, which is found by its path, too.
    expect(await previewOf(home, 'red.heic', heicOf(TINY_HEVC))).toEqual(near([254, 0, 0]));
    const page = {
      width: 300,
      height: 200,
      rectangles: [{ color: BLUE, x: 0, y: 0, width: 300, height: 200 }],
    };
    expect(await previewOf(home, 'blue.pdf', pdfOfPages([page]))).toEqual(near(BLUE));
    // Large enough for its digest to be computed in a thread.
    await writeFile(join(home.directory, 'large.bin'), '');
    await truncate(join(home.directory, 'large.bin'), 65_000_000);
    const large = await home.run(['upload', '--checksum', 'sha256', 'large.bin']);
    expect(large.stdout).toContain(`sha256 ${sha256Hex(Buffer.alloc(65_000_000))}`);
    const listed = await home.json<{ uploads: unknown[] }>(['list']);
    expect(listed.value.uploads).toHaveLength(4);

    const index = await request('GET', `${byNpx.origin}/`);
    expect(index.headers['content-type']).toBe('text/html; charset=utf-8');
    const script = /src="\.\/(assets\/[^"]+\.js)"/.exec(index.body.toString())?.[1];
    expect((await request('GET', `${byNpx.origin}/${script}`)).status).toBe(200);
  } finally {
    await byNpx.stop('SIGTERM');
    await home.remove();
  }
  await until(() =>
    fetch(byNpx.origin).then(
      () => false,
      () => true,
    ),
  );

  // Its data directory can be used again, and a SIGTERM of its own ends it well.
  const again = await serve({ dataDir, env: { LANDFALL_WEB: 'off' } });
  expect((await request('GET', `${again.origin}/uploads`)).body.toString()).toContain('blue.jpg');
  expect(await again.stop('SIGTERM')).toBe(0);
});

describe('over S3 and Redis', () => {
  let redis: RedisServer;
  let servers: RunningServer[];
  let home: CliHome;
  beforeAll(async () => {
    redis = await startRedis({ hasRunForLong: true });
    const env = fleetSettings(
      inject('s3'),
      redis,
      `installed-${randomBytesOf('installed', 6).toString('hex')}`,
    );
    servers = await Promise.all([
      serve({ env: { ...env, LANDFALL_ROLE: 'api', LANDFALL_PROCESSES: '2' } }),
      serve({ env: { ...env, LANDFALL_ROLE: 'worker' } }),
    ]);
    home = await createCliHome({ LANDFALL_URL: servers[0]!.origin }, bin);
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop('SIGKILL')));
    await redis.stop();
    await home.remove();
  });

  test('several processes take an upload in parts, and a worker makes the previews', async () => {
    await writeFile(join(home.directory, 'parts.bin'), randomBytesOf('parts', 12_000_000));
    const { code, stderr } = await home.run([
      'upload',
      '--checksum',
      'sha256',
      '--parallel',
      '2',
      'parts.bin',
    ]);
    expect([code, stderr]).toEqual([0, expect.stringContaining('parts.bin')]);
    expect(await previewOf(home, 'blue.jpg', await bluePicture())).toEqual(near(BLUE));
    expect(await Promise.all(servers.map((server) => server.stop('SIGTERM')))).toEqual([0, 0]);
  });
});

test('doctor and config are there', async () => {
  const home = await createCliHome(
    { LANDFALL_DATA_DIR: join(directory, 'doctor'), LANDFALL_MAX_SIZE: '1GiB' },
    bin,
  );
  try {
    await mkdir(join(directory, 'doctor'));
    const doctor = await home.json<{ summary: { fail: number } }>(['doctor']);
    expect(doctor).toMatchObject({ code: 0, value: { summary: { fail: 0 } } });
    const config = await home.run(['config', '--changed']);
    expect(config.stdout).toMatch(/LANDFALL_MAX_SIZE +1GiB +environment/);
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
    expect((await home.run(['--version'])).stdout).toBe(`${version}\n`);
  } finally {
    await home.remove();
  }
});

test('landfall/client can be imported, with its types', async () => {
  const program = `
    import { isClientError, type UploadResult, upload } from 'landfall/client';
    const result: UploadResult | boolean = await upload('missing.bin', { server: 'http://127.0.0.1:9' }).catch(
      (error: unknown) => isClientError(error, 'source_unreadable'),
    );
    console.log(result);
    // @ts-expect-error: that is no address
    export const wrong = () => upload('missing.bin', { server: 9 });`;
  const compilerOptions = {
    strict: true,
    noEmit: true,
    target: 'ES2024',
    module: 'NodeNext',
    types: ['node'],
  };
  await mkdir(join(directory, 'node_modules/@types'));
  await symlink(join(ROOT, 'node_modules/@types/node'), join(directory, 'node_modules/@types/node'));
  await writeFile(join(directory, 'package.json'), JSON.stringify({ type: 'module' }));
  await writeFile(join(directory, 'app.ts'), program);
  await writeFile(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['app.ts'] }));
  await run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', directory]);
  expect((await run(process.execPath, ['app.ts'], { cwd: directory })).stdout).toBe('true\n');
});

describe('an old Node', () => {
  /** The command in a Node that says that it is an old one. */
  const asNode20 = (...args: string[]) => {
    const old = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '20.20.2' } })`;
    return spawnSync(process.execPath, ['--import', old, bin, ...args], { encoding: 'utf8', cwd: directory });
  };

  test('is told which one is needed', () => {
    const { status, stdout, stderr } = asNode20('list');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(
      /^landfall needs Node 22\.18 or newer; .+`npm install node@24` beside landfall is enough\.\n$/,
    );
  });

  test('is replaced by the one of the package `node` beside it', async () => {
    await symlink(join(ROOT, 'node_modules/node'), join(directory, 'node_modules/node'));
    const { status, stdout, stderr } = asNode20('--help');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('landfall serve');
  });
});
