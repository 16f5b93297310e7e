-- Adds a record unless there is one, or its owner has no room for one more that is open.
--
-- KEYS[1]  the record: a hash of its fields; what is null is absent
-- ARGV[1]  base of all keys
-- ARGV[2]  most open uploads of the record's owner; 0: any number
-- ARGV[3…] field, value, field, value…: at least id, state, createdAtMs
--
-- Returns the record that was there already (values in the order of COLUMNS), nil when it was added, or "full".

if redis.call('EXISTS', KEYS[1]) == 1 then
  return readRecord(KEYS[1])
end

-- Records that a server which evicts keys has taken left their members behind.
local function countOpen(owner)
  local index = base .. ':open:' .. owner
  local open = 0
  for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    if redis.call('EXISTS', recordKey(string.sub(member, 18))) == 1 then
      open = open + 1
    else
      redis.call('ZREM', index, member)
    end
  end
  return open
end

local function hasRoom(owner, maxOpen)
  local isPartial = string.sub(owner, -#PARTIALS_OWNER_SUFFIX) == PARTIALS_OWNER_SUFFIX
  local whole = isPartial and string.sub(owner, 1, -#PARTIALS_OWNER_SUFFIX - 1) or owner
  local hasPartials = countOpen(whole .. PARTIALS_OWNER_SUFFIX) > 0
  if isPartial and hasPartials then
    return true
  end
  return countOpen(whole) + (hasPartials and 1 or 0) < maxOpen
end

local maxOpen = tonumber(ARGV[2])
if maxOpen > 0 then
  for i = 3, #ARGV, 2 do
    if ARGV[i] == 'owner' and not hasRoom(ARGV[i + 1], maxOpen) then
      return 'full'
    end
  end
end

local before = readCounters(KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
addToTotals(before, readCounters(KEYS[1]))
local member = indexMember(KEYS[1])
redis.call('ZADD', base .. ':all', 0, member)
for _, index in ipairs(indexKeys(KEYS[1])) do
  redis.call('ZADD', index, 0, member)
end
return nil
