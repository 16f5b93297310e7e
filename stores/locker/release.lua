-- Gives the lock of one upload back, if it is the caller's, and hands it to whoever has waited longest; takes the
-- caller out of the queue in any case. Handing over, rather than waking everybody up, is what keeps the order.
--
-- KEYS[1]  lock: the holder's token; expires
-- KEYS[2]  waiters: sorted set of tokens, scored by when they came (ms)
-- ARGV[1]  token of the caller
-- ARGV[2]  what a locker's channel begins with; its id follows
-- ARGV[3]  time in which the next holder has to confirm (by acquire.lua) that it is there, ms
-- ARGV[4]  longest time that anybody waits, ms: older waiters are dead
-- ARGV[5]  1: PUBLISH tells whether the waiter's process listens, so dead ones are passed over. 0: it cannot (Cluster)
--
-- Returns 1 when the lock was the caller's, else 0.

redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - ARGV[4]))
while true do
  local waiter = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not waiter then
    redis.call('DEL', KEYS[1])
    return 1
  end
  redis.call('ZREM', KEYS[2], waiter)
  redis.call('SET', KEYS[1], waiter, 'PX', ARGV[3])
  local listeners = redis.call('PUBLISH', ARGV[2] .. string.match(waiter, '^[^.]*'), 'go ' .. waiter)
  if listeners > 0 or ARGV[5] == '0' then
    return 1
  end
end
