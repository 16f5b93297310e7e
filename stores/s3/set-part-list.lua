-- Keeps an upload's part list, if the lock is held by the caller.
--
-- KEYS[1]  lock: the holder's token
-- KEYS[2]  part list; expires
-- ARGV[1]  token of the caller
-- ARGV[2]  the entry, JSON
-- ARGV[3]  time to live of the entry, ms
--
-- Returns 1 when it was kept, 0 when the lock is not the caller's (any more).

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
