import cluster from 'node:cluster';
import { type App, buildApp } from './app.ts';
import { CONFIG_EXIT_CODE, type Config, ConfigError, isLoopbackHost, loadConfig } from './config.ts';
import { createLog } from './log.ts';
import { type ListeningMessage, runPrimary } from './processes.ts';
import { buildPage } from './web/build-page.ts';
import { hasPageFiles } from './web/page-files.ts';

/** Reads the configuration, starts the server (or several processes of it) and ends it on SIGTERM or SIGINT. */
async function main(): Promise<void> {
  const config = readConfig();
  if (config === undefined) return;
  if (process.argv.includes('--build-page') && cluster.isPrimary && servesPage(config)) await buildPage();
  if (config.processes > 1 && cluster.isPrimary) {
    runPrimary({
      count: config.processes,
      graceMs: config.shutdownGraceMs,
      log: createLog(config.logLevel),
      onListening: ({ url, filesUrl }) => void process.stdout.write(greeting(config, url, filesUrl)),
    });
    return;
  }
  const app = await buildApp(config);
  endOnSignals(app, config.shutdownGraceMs);
  const { url, filesUrl } = await app.listen();
  if (cluster.isWorker) process.send?.({ type: 'listening', url, filesUrl } satisfies ListeningMessage);
  else process.stdout.write(greeting(config, url, filesUrl));
}

function readConfig(): Config | undefined {
  try {
    return loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = CONFIG_EXIT_CODE;
    return undefined;
  }
}

/**
 * The first signal drains: running uploads store what they received, and their clients resume elsewhere. A second
 * one, or the end of the grace period, ends the process at once; what was acknowledged is stored either way.
 */
function endOnSignals(app: App, graceMs: number): void {
  let isEnding = false;
  const end = (signal: NodeJS.Signals | 'disconnect') => {
    if (isEnding) process.exit(1);
    isEnding = true;
    app.log.info({ signal }, 'shutting down');
    setTimeout(() => {
      app.log.warn('the grace period is over');
      process.exit(1);
    }, graceMs).unref();
    app.close().then(
      () => process.exit(0),
      (error: unknown) => {
        app.log.error({ error }, 'shutting down failed');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  // The primary holds the port: without it, no request comes to this process any more.
  if (cluster.isWorker) process.once('disconnect', () => end('disconnect'));
}

function servesPage(config: Config): boolean {
  return config.web && config.role !== 'worker';
}

function greeting(config: Config, url: string, filesUrl: string): string {
  return config.role === 'worker' ? workerGreeting(config, url) : serverGreeting(config, url, filesUrl);
}

function workerGreeting(config: Config, url: string): string {
  return [
    '',
    '  Landfall works on finished uploads; others take them (LANDFALL_ROLE=worker)',
    `  Says how it is at              ${url}/health/ready`,
    `  Store                          ${storeLine(config)}`,
    '',
    '',
  ].join('\n');
}

function serverGreeting(config: Config, url: string, filesUrl: string): string {
  const operatorApi = !config.isAdminServed
    ? `not served (LANDFALL_ADMIN=off${config.adminToken === undefined ? '' : '; the token is not used'})`
    : config.adminToken !== undefined
      ? `${url}/uploads (with the bearer token)`
      : `${url}/uploads (no token is set: this machine only)`;
  const lines = [
    '',
    `  Landfall takes tus uploads at  ${filesUrl}`,
    `  Store                          ${storeLine(config)}`,
    `  Operator API                   ${operatorApi}`,
    ...(servesPage(config) && hasPageFiles() ? [`  Browser page                   ${url}/`] : []),
    '',
    '  Try it:',
    `    location=$(curl -si -X POST ${filesUrl} -H 'Tus-Resumable: 1.0.0' -H "Upload-Length: $(stat -c %s README.md)" \\`,
    `      -H 'Content-Type: application/offset+octet-stream' -H "Upload-Metadata: filename $(printf README.md | base64)" \\`,
    "      --data-binary @README.md | tr -d '\\r' | awk 'tolower($1)==\"location:\"{print $2}')",
    `    curl ${config.publicUrl === undefined ? originToTry(config, url) : ''}$location`,
    '',
    '',
  ];
  return lines.join('\n');
}

/** The server is asked on this machine, whatever addresses it listens on. */
function originToTry(config: Config, url: string): string {
  return isLoopbackHost(config.host) ? url : `http://127.0.0.1:${new URL(url).port}`;
}

function storeLine(config: Config): string {
  return config.s3 === undefined ? `files in ${config.dataDir}` : `S3 bucket ${config.s3.bucket}`;
}

main().catch((error: unknown) => {
  process.stderr.write(`landfall: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
