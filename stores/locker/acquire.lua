-- Takes the lock of one upload, or queues up for it and asks its holder to give it back.
--
-- KEYS[1]  lock: the holder's token; expires
-- KEYS[2]  waiters: sorted set of tokens, scored by when they came (ms)
-- KEYS[3]  era: "<run id of the server> <since when (ms)>"; absent in a Cluster, see ARGV[6]
-- ARGV[1]  token of the caller: "<locker id>.<random>"
-- ARGV[2]  time to live of the lock, ms
-- ARGV[3]  what a locker's channel begins with; its id follows
-- ARGV[4]  longest time that anybody waits, ms: older waiters are dead
-- ARGV[5]  how long a server is distrusted that cannot know who held what, ms
-- ARGV[6]  in a Cluster, the era of the node; empty where the caller does not know the Cluster yet
--
-- Returns {1, number of other waiters}: held, for ARGV[2] from now on.
--         {0, ms}: held by somebody else, for so long if they do not renew.
--         {2, ms}: nobody gets a lock before this time has passed.
--
-- The era: a server that was emptied, restarted, restored from a snapshot or promoted may have forgotten locks whose
-- holders still count on them, until their next renewal tells them. Its run id, or the lack of the key, gives such a
-- server away; for one time to live it grants nothing, and by then every earlier holder knows. In a Cluster each node
-- has an era of its own, in whichever of its slots the callers chose. That is not the lock's slot, and what lies in
-- different slots must not be named as KEYS; a script may still use it as long as it is on the same node. When slots
-- were moved a moment ago it may not be, and then the lock is granted without.
--
-- Safe to repeat: the holder itself gets its lock again, for a full time to live.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local era = KEYS[3] or ARGV[6]
local kept = era ~= '' and redis.pcall('GET', era) or ''
if era ~= '' and type(kept) == 'string' then
  local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '-'
  local known, since = string.match(kept, '^(%S+) (%d+)$')
  if known ~= server then
    since = now
    redis.call('SET', era, string.format('%s %.0f', server, now))
  end
  local wait = since + ARGV[5] - now
  if wait > 0 then
    return {2, wait}
  end
end

local taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not taken then
  local holder = redis.call('GET', KEYS[1])
  if holder ~= ARGV[1] then
    redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', now), ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
    redis.call('PUBLISH', ARGV[3] .. string.match(holder, '^[^.]*'), 'want ' .. holder)
    return {0, math.max(redis.call('PTTL', KEYS[1]), 0)}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - ARGV[4]))
return {1, redis.call('ZCARD', KEYS[2])}
