-- Keeps events and tells who listens, in one step: what is told is kept, and in the order in which it is kept.
--
-- KEYS[1]  the stream
-- ARGV[1]  the channel
-- ARGV[2]  how many events are kept
-- ARGV[3]  for how many milliseconds
-- ARGV[4…] pairs: 1 (kept) or 0 (only told), and the event as JSON
--
-- Tells a text: a line with the id of the newest event before these ('0-0': none), then a line for each of them: its
-- id ('-' when it is not kept), a space, the JSON. Returns how many processes heard it (in a Cluster: at this node).

local stream = KEYS[1]
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
local lines = { newest[1] and newest[1][1] or '0-0' }
local hasKept = false
for index = 4, #ARGV, 2 do
  local id = '-'
  if ARGV[index] == '1' then
    id = redis.call('XADD', stream, 'MAXLEN', ARGV[2], '*', 'event', ARGV[index + 1])
    hasKept = true
  end
  lines[#lines + 1] = id .. ' ' .. ARGV[index + 1]
end
if hasKept then
  local now = redis.call('TIME')
  redis.call('XTRIM', stream, 'MINID', string.format('%.0f', now[1] * 1000 - ARGV[3]))
end
return redis.call('PUBLISH', ARGV[1], table.concat(lines, '\n'))
