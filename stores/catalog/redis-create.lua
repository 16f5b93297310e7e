-- Adds a record unless there is one.
--
-- KEYS[1]  the record: a hash of its fields; what is null is absent
-- ARGV[1]  base of all keys
-- ARGV[2…] field, value, field, value…: at least id, state, createdAtMs
--
-- Returns the record that was there already (values in the order of COLUMNS), or nil when it was added.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return readRecord(KEYS[1])
end
local before = readCounters(KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
addToTotals(before, readCounters(KEYS[1]))
local member = indexMember(KEYS[1])
local fields = redis.call('HMGET', KEYS[1], 'state', 'group')
redis.call('ZADD', base .. ':all', 0, member)
for _, index in ipairs(indexKeys(fields[1], fields[2])) do
  redis.call('ZADD', index, 0, member)
end
return nil
