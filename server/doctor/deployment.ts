import type { Config } from '../config.ts';
import { isLoopbackHost } from '../config.ts';
import { type Check, type Finding, ok, warn } from './types.ts';

/** What the settings together amount to, where the configuration itself has nothing against them. */
export function deploymentCheck(config: Config): Check {
  return {
    name: 'deployment',
    async run() {
      const findings: Finding[] = [];
      const { processes, redis, store, host, publicUrl, trustedProxies } = config;
      if (redis === undefined) {
        findings.push(
          store === 's3'
            ? warn(
                'Locks are in this one process: a second server on the same bucket and prefix could write the same upload.',
                'Set LANDFALL_REDIS_URL before you start another process or machine.',
              )
            : ok('One process over files: nothing else is needed. For more than one, use S3 and Redis.'),
        );
      } else if (store === 'file') {
        findings.push(
          warn(
            'Files belong to one process: Redis holds its locks and records, and cannot make it two.',
            'Leave LANDFALL_REDIS_URL out, or use LANDFALL_STORE=s3.',
          ),
        );
      } else {
        const here = processes === 1 ? 'one process' : `${processes} processes`;
        findings.push(ok(`S3 and Redis: ${here} here, and as many machines as you like.`));
      }
      if (!isLoopbackHost(host) && publicUrl === undefined && trustedProxies.length === 0) {
        findings.push(
          ok('Locations are relative, which every proxy keeps right that does not change paths.'),
        );
      }
      return findings;
    },
  };
}
