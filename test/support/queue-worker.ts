import { openTestQueue } from './test-queues.ts';

/*
 * A process of its own on a queue, to be killed by a test. Arguments: the backend (`sqlite` or `bullmq`), where it
 * is, what to do, and the lease in milliseconds. `add`: adds `durable` and kills itself. `hold`: starts a job, prints
 * its attempt, and never finishes. `bomb`: is killed by every job.
 */

const [backend = '', where = '', mode = '', leaseMs = ''] = process.argv.slice(2);
const queue = await openTestQueue(backend, where);

if (mode === 'add') {
  await queue.add({ id: 'durable', kind: 'test' });
  process.kill(process.pid, 'SIGKILL');
}

const options = { concurrency: 1, maxAttempts: 3, backoffMs: () => 0, leaseMs: Number(leaseMs) };
queue.work('test', options, async (job) => {
  if (mode === 'bomb') process.kill(process.pid, 'SIGKILL');
  console.log(`attempt ${job.attempt}`);
  await new Promise(() => setInterval(() => {}, 1_000));
});
