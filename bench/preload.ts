/*
 * Loaded with `--import` into every Node server that is measured, whose program stays as it is.
 *
 * It fills the heap with live objects, because the collector's work per allocated byte depends on what it has to
 * keep: a server that just started, with an empty heap, looks two to three times cheaper than the same server after
 * a day. And it collects garbage when the benchmark asks for it, so that no run pays for the one before.
 */

const BALLAST_BYTES = Number(process.env.BENCH_BALLAST_MIB ?? 150) * 1024 * 1024;

/** What a server keeps: records as they come out of JSON, as sessions and caches hold them. */
function fillHeap(): unknown[] {
  const live: unknown[] = [];
  const before = usedBytes();
  while (usedBytes() - before < BALLAST_BYTES) {
    for (let count = 0; count < 20_000; count++) live.push(JSON.parse(recordText(live.length)));
  }
  return live;
}

/** Without what only waits to be collected. */
function usedBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

function recordText(id: number): string {
  return JSON.stringify({
    id,
    email: `person.${id}@example.org`,
    createdAt: new Date(1_750_000_000_000 + id * 1_000).toISOString(),
    agent: `Mozilla/5.0 (X11; Linux x86_64; rv:${id % 140}.0) Gecko/20100101 Firefox/${id % 140}.0`,
    roles: ['reader', `group-${id % 97}`],
    settings: { theme: 'dark', language: 'en', visits: id % 1_000 },
  });
}

const ballast = fillHeap();

process.on('message', (message) => {
  if (message !== 'gc') return;
  globalThis.gc?.();
  globalThis.gc?.();
  process.send?.({ collected: true, ballast: ballast.length });
});
// The benchmark is gone: so is the reason to run.
process.on('disconnect', () => process.exit(0));
