import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

/*
 * bin/landfall.js under the shell of npx, around a program that says what it is told and takes its time to end. That a SIGTERM
 * to the real npx ends the real server is tested in test/integration/installed-package.test.ts.
 */

const ROOT = join(import.meta.dirname, '../..');
const PROGRAM = `
  const end = (signal) => {
    process.stdout.write(signal + ' ');
    setTimeout(() => process.stdout.write('end', () => process.exit(0)), 600);
  };
  if (process.argv[2] === 'patient') for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, end);
  setInterval(() => {}, 1000);
  process.stdout.write('ready ');`;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-bin-'));
  await mkdir(join(directory, 'bin'));
  await mkdir(join(directory, 'dist/cli'), { recursive: true });
  await copyFile(join(ROOT, 'bin/landfall.js'), join(directory, 'bin/landfall.js'));
  await writeFile(join(directory, 'dist/cli/main.js'), PROGRAM);
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** What the program says until it is gone. */
async function outputOf(kind: string, kill: (shell: ChildProcess) => void): Promise<string> {
  // Something is left to do for the shell, so that it does not become the program.
  const script = `'${process.execPath}' bin/landfall.js ${kind}; :`;
  const shell = spawn('sh', ['-c', script], {
    cwd: directory,
    // A process group of its own, as a terminal would have it.
    detached: true,
    env: { PATH: process.env.PATH, npm_command: 'exec' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  shell.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output === '') kill(shell);
    output += text;
  });
  // The program holds it open for as long as it runs.
  await once(shell.stdout, 'close');
  return output;
}

const toShell = (shell: ChildProcess) => void shell.kill('SIGTERM');
const toAll = (signal: NodeJS.Signals) => (shell: ChildProcess) =>
  void process.kill(-(shell.pid as number), signal);

test('the end of the shell is a SIGTERM', async () => {
  expect(await outputOf('patient', toShell)).toBe('ready SIGTERM end');
});

test.each(['SIGINT', 'SIGTERM'] as const)('a %s to shell and program is told once', async (signal) => {
  expect(await outputOf('patient', toAll(signal))).toBe(`ready ${signal} end`);
});

test.each([
  ['of the shell', toShell],
  ['by a SIGINT', toAll('SIGINT')],
  ['by a SIGTERM', toAll('SIGTERM')],
])('the end %s is that of a program that does not listen', async (_how, kill) => {
  expect(await outputOf('impatient', kill)).toBe('ready ');
});

test.each(['patient', 'impatient'])('under an old Node it ends as the %s program does', async (kind) => {
  const old = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '20.20.2' } })`;
  const command = spawn(process.execPath, ['--import', old, 'bin/landfall.js', kind], {
    cwd: directory,
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  command.stdout.once('data', () => command.kill('SIGTERM'));
  expect(await once(command, 'exit')).toEqual(kind === 'patient' ? [0, null] : [null, 'SIGTERM']);
});
