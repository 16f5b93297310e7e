-- Counts uploads by state and reads the sums.
--
-- KEYS[1]  totals: a hash of sums
-- KEYS[2…] the index of each state
-- ARGV[1]  base of all keys
--
-- Returns the sums in the order of COUNTERS, then the count of each state.

local reply = redis.call('HMGET', KEYS[1], unpack(COUNTERS))
for i = 2, #KEYS do
  reply[#COUNTERS + i - 1] = redis.call('ZCARD', KEYS[i])
end
return reply
