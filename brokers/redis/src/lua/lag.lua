-- How far a group is. KEYS: meta. ARGV: `{topic}:`, the topic, the group.
-- Returns whether it reads the topic, then backlog, pending, waiting, scheduled, the age of the oldest in ms (-1: none).
local partitions = redis.call('HGET', KEYS[1], 'partitions')
if not partitions then
  return { -1, 0, 0, 0, 0, -1 }
end
local time, found, backlog, pending, waiting, oldest = now(), 0, 0, 0, 0, nil
local function older(id)
  local ms = tonumber(string.match(id, '^(%d+)'))
  oldest = oldest and math.min(oldest, ms) or ms
end
for p = 0, partitions - 1 do
  local stream = ARGV[1] .. p
  local group = group_of(stream, ARGV[3])
  if group then
    found = 1
    local from = '(' .. group['last-delivered-id']
    local first = redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
    if first then
      local lag = group.lag
      if not lag then
        -- Something was deleted in between: counted, up to where it does not matter any more.
        lag = #redis.call('XRANGE', stream, from, '+', 'COUNT', 1000)
      end
      backlog = backlog + lag
      older(first[1])
    end
    if group.pending > 0 then
      pending = pending + group.pending
      older(redis.call('XPENDING', stream, ARGV[3])[2])
    end
    waiting = waiting + redis.call('ZCARD', ARGV[1] .. ARGV[3] .. ':due:' .. p)
  end
end
local foreign = redis.call('TYPE', ARGV[2]).ok == 'stream' and redis.call('XLEN', ARGV[2]) or 0
local scheduled = redis.call('ZCARD', ARGV[1] .. 'scheduled')
return { found, backlog + foreign, pending, waiting, scheduled, oldest and math.max(0, time - oldest) or -1 }
