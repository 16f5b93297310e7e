-- Says where a job of BullMQ's is, and notes for one that runs that it is to run once more: in one step, so that it
-- cannot end in between.
--
-- KEYS[1]  the job
-- KEYS[2]  `active`, the list of jobs that run
-- KEYS[3]  `failed`, the sorted set of jobs that were given up
-- KEYS[4]  `again`, ours: a hash of what to run once more, by job
-- ARGV[1]  the job's id
-- ARGV[2]  what to note for it; empty: nothing
--
-- Returns 'absent', 'givenUp', 'idle' (it waits), 'active' (and has a note, or none was asked for) or 'noted'.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'absent'
end
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return 'givenUp'
end
if not redis.call('LPOS', KEYS[2], ARGV[1]) then
  return 'idle'
end
if ARGV[2] ~= '' and redis.call('HSETNX', KEYS[4], ARGV[1], ARGV[2]) == 1 then
  return 'noted'
end
return 'active'
