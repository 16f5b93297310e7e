import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { GroupResult } from '../../server/doctor/run-checks.ts';
import type { Finding } from '../../server/doctor/types.ts';

const ROOT = join(import.meta.dirname, '../..');

const CHECKS_OF_SPEED: readonly string[] = ['latency', 'fsync'];

export interface DoctorReport {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `npm run doctor`'s program with these settings and no others. */
export function runDoctor(env: Record<string, string>, args: string[] = []): Promise<DoctorReport> {
  const child = spawn(process.execPath, ['server/doctor/main.ts', ...args], {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/compile'),
      // No look for a cloud's metadata service where a test gives no keys.
      AWS_EC2_METADATA_DISABLED: 'true',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

export interface Diagnosis {
  exitCode: number | null;
  groups: GroupResult[];
  /** The findings of a check, in any group. Throws when it did not run. */
  of(check: string): Finding[];
  /** `check: level` for everything that is not ok, but for how fast this machine is just now. */
  troubles(): string[];
}

/** The same with --json, taken apart. */
export async function diagnose(env: Record<string, string>): Promise<Diagnosis> {
  const { exitCode, stdout, stderr } = await runDoctor(env, ['--json']);
  if (stderr !== '') throw new Error(`the doctor complained: ${stderr}`);
  const { groups } = JSON.parse(stdout) as { groups: GroupResult[] };
  const checks = groups.flatMap((group) => group.checks);
  return {
    exitCode,
    groups,
    of(name) {
      const found = checks.find((check) => check.name === name);
      if (found === undefined) throw new Error(`the check ${name} did not run:\n${stdout}`);
      return found.findings;
    },
    troubles: () =>
      checks.flatMap(({ name, findings }) =>
        findings
          .filter(({ level }) => level !== 'ok' && !(level === 'warn' && CHECKS_OF_SPEED.includes(name)))
          .map(({ level }) => `${name}: ${level}`),
      ),
  };
}
