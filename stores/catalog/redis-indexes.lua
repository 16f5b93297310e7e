-- What the catalog's scripts share; it goes before each of them, after the list COLUMNS.
--
-- ARGV[1] is always the base of all keys. A script names some keys by itself (which index a record is in depends on
-- the record), which is sound in a Cluster because everything of the catalog has one hash tag.

local base = ARGV[1]
local COUNTERS = {'receivedBytes', 'requests', 'resumes'}

local function recordKey(id)
  return base .. ':upload:' .. id
end

local function readRecord(key)
  return redis.call('HMGET', key, unpack(COLUMNS))
end

-- Members are ordered as text: the time with leading zeros, then the id.
local function indexMember(key)
  local fields = redis.call('HMGET', key, 'createdAtMs', 'id')
  return string.format('%016.0f:', fields[1]) .. fields[2]
end

-- The indexes, besides the one of all uploads, that hold a record as it is now.
local function indexKeys(key)
  local fields = redis.call('HMGET', key, 'state', 'group', 'owner')
  local state, group, owner = fields[1], fields[2], fields[3]
  local keys = {base .. ':state:' .. state}
  if group then
    table.insert(keys, base .. ':group:' .. group)
    table.insert(keys, base .. ':state:' .. state .. ':group:' .. group)
  end
  if owner and state == 'receiving' then
    table.insert(keys, base .. ':open:' .. owner)
  end
  return keys
end

-- A record's counters that go into the totals; zeros for no record.
local function readCounters(key)
  local values = redis.call('HMGET', key, unpack(COUNTERS))
  for i = 1, #COUNTERS do
    values[i] = tonumber(values[i] or 0)
  end
  return values
end

local function addToTotals(before, after)
  for i, counter in ipairs(COUNTERS) do
    if after[i] ~= before[i] then
      redis.call('HINCRBYFLOAT', base .. ':totals', counter, string.format('%.17g', after[i] - before[i]))
    end
  end
end
