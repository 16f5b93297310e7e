import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** PEM files, and how to get rid of them. */
export interface Certificate {
  certFile: string;
  keyFile: string;
  /** The same as `certFile`: it vouches for itself. */
  caFile: string;
  remove(): Promise<void>;
}

/** A self-signed certificate for 127.0.0.1 and `redis.test`, made by openssl. */
export async function makeCertificate(): Promise<Certificate> {
  const dir = await mkdtemp(join(tmpdir(), 'landfall-tls-'));
  const certFile = join(dir, 'cert.pem');
  const keyFile = join(dir, 'key.pem');
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-keyout', keyFile, '-out', certFile, '-subj', '/CN=redis.test'],
    ...['-addext', 'subjectAltName=IP:127.0.0.1,DNS:redis.test'],
  ]);
  return { certFile, keyFile, caFile: certFile, remove: () => rm(dir, { recursive: true, force: true }) };
}
