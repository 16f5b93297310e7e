import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteEventLog } from '../../stores/events/sqlite.ts';
import type { EventLog } from '../../stores/events/types.ts';
import { eventLogContract } from './event-log.ts';

eventLogContract(
  'sqlite',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-events-'));
    const opened: EventLog[] = [];
    return {
      async openLog() {
        const log = openSqliteEventLog({ path: join(directory, 'events.db') });
        opened.push(log);
        return log;
      },
      async teardown() {
        for (const log of opened) await log.close();
        await rm(directory, { recursive: true });
      },
    };
  },
  { isShared: false },
);
