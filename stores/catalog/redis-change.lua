-- Changes a record: sets and clears fields, adds to counters, and moves it to where the indexes want it. With states
-- to compare, nothing happens unless the record is in one of them.
--
-- KEYS[1]  the record
-- ARGV[1]  base of all keys
-- ARGV[2]  states to compare, separated by commas; empty: whatever the state is
-- ARGV[3]  how many arguments follow that are set: field, value, field, value…
-- ARGV[4]  how many follow these that are cleared: field, field…
-- ARGV[5…] these; and then what is added: field, number, field, number…
--
-- Returns the record as it is now (values in the order of COLUMNS), or nil when nothing was changed.

local old = redis.call('HMGET', KEYS[1], 'state', 'group')
if not old[1] then
  return nil
end
if ARGV[2] ~= '' and not string.find(',' .. ARGV[2] .. ',', ',' .. old[1] .. ',', 1, true) then
  return nil
end

local before = readCounters(KEYS[1])
local indexes = indexKeys(KEYS[1])
local firstCleared = 5 + ARGV[3]
local firstAdded = firstCleared + ARGV[4]
if firstCleared > 5 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 5, firstCleared - 1))
end
if firstAdded > firstCleared then
  redis.call('HDEL', KEYS[1], unpack(ARGV, firstCleared, firstAdded - 1))
end
for i = firstAdded, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1])
end
addToTotals(before, readCounters(KEYS[1]))

local new = redis.call('HMGET', KEYS[1], 'state', 'group')
if new[1] ~= old[1] or new[2] ~= old[2] then
  local member = indexMember(KEYS[1])
  for _, index in ipairs(indexes) do
    redis.call('ZREM', index, member)
  end
  for _, index in ipairs(indexKeys(KEYS[1])) do
    redis.call('ZADD', index, 0, member)
  end
end
return readRecord(KEYS[1])
