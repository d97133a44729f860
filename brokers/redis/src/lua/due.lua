-- What has waited long enough. KEYS: lease, stream, kept, due. ARGV: token, group, count.
-- Returns in how many milliseconds the next is due (empty: nothing waits), the messages, what is lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'FENCED'
end
local time = now()
local ids = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', time, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[4], id)
end
local out, lost = hand(KEYS[2], ARGV[2], KEYS[3], KEYS[4], ids, time)
local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
return { first and string.format('%.0f', math.max(0, first - time)) or '', out, lost }
