-- Publishes what is due. KEYS: later, scheduled. ARGV: `{topic}:`, count.
-- Returns in how many milliseconds the next is due (empty: nothing waits), and the last id that was kept so far.
local time = now()
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time, 'LIMIT', 0, ARGV[2])) do
  local id, partition = string.match(member, '^(%S+) (%d+)$')
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    redis.call('XADD', ARGV[1] .. partition, '*', unpack(entry[2]))
    redis.call('XDEL', KEYS[1], id)
  end
  redis.call('ZREM', KEYS[2], member)
end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local last = redis.call('EXISTS', KEYS[1]) == 1 and named(redis.call('XINFO', 'STREAM', KEYS[1]))['last-generated-id'] or '0-0'
return { first and string.format('%.0f', math.max(0, first - time)) or '', last }
