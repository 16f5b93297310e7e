import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, until } from './redis.ts';

const run = promisify(execFile);
const EXAMPLES = join(import.meta.dirname, '../../docs/deploy');

/** A real reverse proxy with the example configuration of the documentation. */
export interface Edge {
  /** `https://localhost:port`, HTTP/1.1 and HTTP/2. */
  origin: string;
  /** PEM of the authority that vouches for it. */
  ca: string;
  /** Has it read its configuration again, as after a change. */
  reload(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts Debian's Caddy with docs/deploy/Caddyfile as it is; everything else comes by its environment. */
export async function startCaddy(upstreamPorts: readonly number[]): Promise<Edge> {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-caddy-'));
  const [port, httpPort, adminPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const config = join(EXAMPLES, 'Caddyfile');
  const options = [
    `admin 127.0.0.1:${adminPort}`,
    'default_bind 127.0.0.1',
    `https_port ${port}`,
    `http_port ${httpPort}`,
    'skip_install_trust',
  ];
  const env = {
    PATH: process.env.PATH,
    HOME: directory,
    XDG_DATA_HOME: directory,
    XDG_CONFIG_HOME: directory,
    CADDY_GLOBAL_OPTIONS: options.join('\n'),
    SITE: 'localhost',
    UPSTREAMS: upstreamPorts.map((upstream) => `127.0.0.1:${upstream}`).join(' '),
  };
  const child = spawn('caddy', ['run', '--config', config, '--adapter', 'caddyfile'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const edge = await untilListening(child, port, directory);
  const root = join(directory, 'caddy/pki/authorities/local/root.crt');
  return {
    ...edge,
    ca: await readFile(root, 'utf8'),
    async reload() {
      const args = [
        'reload',
        '--force',
        '--config',
        config,
        '--adapter',
        'caddyfile',
        '--address',
        `127.0.0.1:${adminPort}`,
      ];
      await run('caddy', args, { env });
    },
  };
}

/**
 * Starts Debian's nginx with docs/deploy/nginx.conf; only ports and names of files are replaced.
 *
 * @param dataDir of the server behind it, for X-Accel-Redirect
 */
export async function startNginx(
  upstreamPorts: readonly number[],
  dataDir = '/var/lib/landfall',
): Promise<Edge> {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-nginx-'));
  const [port, httpPort] = await Promise.all([freePort(), freePort()]);
  const [key, certificate, pid] = ['key.pem', 'certificate.pem', 'nginx.pid'].map((name) =>
    join(directory, name),
  );
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'],
    ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', `${key}`, '-out', `${certificate}`],
  ]);
  // Its workers may run as another user, and put there what does not fit into memory.
  await mkdir(join(directory, 'temp'));
  await chmod(join(directory, 'temp'), 0o777);
  await chmod(directory, 0o755);
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(directory, 'temp', name)};`)
    .join(' ');
  const config = replaceAll(await readFile(join(EXAMPLES, 'nginx.conf'), 'utf8'), [
    ['pid /run/nginx.pid;', `pid ${pid};`],
    ['\nhttp {', `\nhttp {\n    access_log off;\n    ${temp}`],
    ['server 127.0.0.1:1081 ', `server 127.0.0.1:${upstreamPorts[0]} `],
    ['server 127.0.0.1:1082 ', `server 127.0.0.1:${upstreamPorts[1]} `],
    ['alias /var/lib/landfall/;', `alias ${dataDir}/;`],
    ['listen 80;', `listen 127.0.0.1:${httpPort};`],
    ['listen 443 ssl http2;', `listen 127.0.0.1:${port} ssl http2;`],
    ['ssl_certificate /etc/ssl/upload.example.com.pem;', `ssl_certificate ${certificate};`],
    ['ssl_certificate_key /etc/ssl/upload.example.com.key;', `ssl_certificate_key ${key};`],
  ]);
  const file = join(directory, 'nginx.conf');
  await writeFile(file, config);
  const PATH = `${process.env.PATH}:/usr/sbin`;
  const args = ['-p', directory, '-c', file, '-e', 'stderr'];
  const child = spawn('nginx', [...args, '-g', 'daemon off;'], {
    env: { PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const edge = await untilListening(child, port, directory);
  return {
    ...edge,
    ca: await readFile(`${certificate}`, 'utf8'),
    async reload() {
      child.kill('SIGHUP');
    },
  };
}

/** Each of them has to be in the example exactly once: else it has changed and this has to change with it. */
function replaceAll(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((changed, [from, to]) => {
    const pieces = changed.split(from);
    if (pieces.length !== 2) throw new Error(`the example has ${pieces.length - 1} times ${from}`);
    return pieces.join(to);
  }, text);
}

async function untilListening(
  child: ChildProcess,
  port: number,
  directory: string,
): Promise<Pick<Edge, 'origin' | 'stop'>> {
  let output = '';
  child.stdout?.on('data', (chunk) => (output += chunk));
  child.stderr?.on('data', (chunk) => (output += chunk));
  child.once('error', (error) => (output += error.message));
  const exited = once(child, 'exit');
  const stop = async () => {
    // SIGTERM would wait for running uploads (Caddy), or leave workers behind (nginx on SIGKILL).
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await exited;
      clearTimeout(timer);
    }
    await rm(directory, { recursive: true, force: true });
  };
  await until(() => child.exitCode !== null || canConnect(port), 15_000).catch(() => undefined);
  if (!(await canConnect(port))) {
    await stop();
    throw new Error(`the proxy did not start:\n${output}`);
  }
  return { origin: `https://localhost:${port}`, stop };
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
