-- Removes a record, and with it its share of the totals.
--
-- KEYS[1]  the record
-- ARGV[1]  base of all keys
--
-- Returns 1, or 0 when there was none.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local member = indexMember(KEYS[1])
redis.call('ZREM', base .. ':all', member)
for _, index in ipairs(indexKeys(KEYS[1])) do
  redis.call('ZREM', index, member)
end
local before = readCounters(KEYS[1])
redis.call('DEL', KEYS[1])
addToTotals(before, readCounters(KEYS[1]))
return 1
