-- Reads a page of records, newest first.
--
-- KEYS[1]  index: sorted set of "<createdAtMs, 16 digits>:<id>", all with the same score
-- ARGV[1]  base of all keys
-- ARGV[2]  where to begin: "+", or "(" and the last member of the page before
-- ARGV[3]  most records to read
--
-- Returns records, each its values in the order of COLUMNS.

while true do
  local records = {}
  local isComplete = true
  for _, member in ipairs(redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[2], '-', 'LIMIT', 0, ARGV[3])) do
    local record = readRecord(recordKey(string.sub(member, 18)))
    if record[1] then
      records[#records + 1] = record
    else
      -- A server that evicts keys has taken the record and left the index.
      redis.call('ZREM', KEYS[1], member)
      isComplete = false
    end
  end
  if isComplete then
    return records
  end
end
