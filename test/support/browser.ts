import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Browser, chromium } from 'playwright-core';
import { build } from 'vite';

/**
 * Debian's Chromium as a program that has no windows, as Playwright's own is: the whole browser with its windows hidden
 * takes more than twice the processor time. Without its sandbox: that one needs rights which a container's root
 * does not have.
 */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium-headless-shell', args: ['--no-sandbox'] });
}

export interface ServedPage {
  /** Of another origin than any server of ours. */
  url: string;
  close(): Promise<void>;
}

/**
 * A page of somebody else: an HTML body and a script, bundled with what it imports.
 *
 * @param entry path of the script
 * @param headers of the page
 */
export async function servePage(
  entry: string,
  body: string,
  headers: Record<string, string> = {},
): Promise<ServedPage> {
  const script = await bundleScript(entry);
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>
    <link rel="icon" href="data:,"><body>${body}<script type="module" src="/page.js"></script>`;
  const server = createServer((req, res) => {
    const isScript = req.url === '/page.js';
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
    res.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8');
    res.end(isScript ? script : html);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** One script with everything that it imports. */
export async function bundleScript(entry: string): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: 'warn',
    build: {
      write: false,
      minify: false,
      modulePreload: false,
      rolldownOptions: { input: entry, output: { codeSplitting: false } },
    },
  });
  const outputs = Array.isArray(result) ? result : [result];
  for (const built of outputs) {
    const chunk = 'output' in built ? built.output.find((item) => item.type === 'chunk') : undefined;
    if (chunk?.type === 'chunk') return chunk.code;
  }
  throw new Error(`nothing was made of ${entry}`);
}
