import { type Check, type Finding, fail, ok, warn } from '../types.ts';
import type { RedisNode, RedisProbe } from './probe.ts';

const REBUILT = 'No byte of an upload is at risk, and records are rebuilt from the bucket;';

/** What a restart of Redis would cost. */
export function persistenceCheck({ nodes }: RedisProbe): Check {
  return {
    name: 'persistence',
    async run() {
      const judged = await Promise.all((await nodes()).map(judgeNode));
      // The nodes of a Cluster are set up alike: each different finding is said once.
      return [...new Map(judged.flat().map((finding) => [finding.text, finding])).values()];
    },
  };
}

async function judgeNode({ info, setting }: RedisNode): Promise<Finding[]> {
  const findings: Finding[] = [];
  const hasAof = info.get('aof_enabled') === '1';
  const failed = [
    hasAof && info.get('aof_last_write_status') === 'err' ? 'the append-only file' : undefined,
    info.get('rdb_last_bgsave_status') === 'err' ? 'the last snapshot' : undefined,
  ].filter((what) => what !== undefined);
  if (failed.length > 0) {
    findings.push(
      fail(
        `Redis could not write ${failed.join(' and ')}: by default it then refuses all writes, and with them uploads.`,
        "Look into Redis' log: usually its disk is full or not writable.",
      ),
    );
  }
  if (hasAof) {
    const fsync = await setting('appendfsync');
    if (fsync !== 'no')
      return [
        ...findings,
        ok(
          `Append-only file${fsync === undefined ? '' : ` (appendfsync ${fsync})`}: a restart costs at most the last second.`,
        ),
      ];
    return [
      ...findings,
      warn(
        `appendfsync is no: a power cut costs the last minute. ${REBUILT} reports would miss it.`,
        'Set appendfsync everysec.',
      ),
    ];
  }
  const save = await setting('save');
  const change = 'Set appendonly yes (and appendfsync everysec).';
  if (save === '') {
    return [
      ...findings,
      warn(
        `Nothing is written to disk: a restart empties Redis. ${REBUILT} the history of uploads and their counters are lost, and for one LANDFALL_LOCK_TTL after a restart no upload goes on.`,
        change,
      ),
    ];
  }
  return [
    ...findings,
    warn(
      `Only snapshots${save === undefined ? '' : ` (save ${save})`}: a restart brings back a state of minutes ago. ${REBUILT} what happened since then is missing from their history.`,
      change,
    ),
  ];
}
