-- Lets a lock live on, if it is still the caller's.
--
-- KEYS[1]  lock: the holder's token; expires
-- KEYS[2]  waiters: sorted set of tokens
-- ARGV[1]  token of the caller
-- ARGV[2]  time to live from now on, ms
--
-- Returns 0: not the caller's lock (any more). 1: renewed. 2: renewed, and somebody waits for it (the message that
-- says so may have been lost).

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 2
end
return 1
