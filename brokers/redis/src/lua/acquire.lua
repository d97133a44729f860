-- Takes a partition that nobody has. KEYS: lease, epoch, open, stream, due. ARGV: me, ttl, partition, group.
-- Returns the epoch (0: another has it), who had it and did not give it back, the last id given out, when the next is due.
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1] + 1) ~= ARGV[1] .. ':' then
  return { 0, '', '', '' }
end
local group = group_of(KEYS[4], ARGV[4])
if not group then
  return redis.error_reply('NOGROUP no such group')
end
-- Rises even if the server has lost everything.
local epoch = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now())
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. text, 'PX', ARGV[2])
local open = redis.call('HGET', KEYS[3], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[1])
local due = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
return { text, open or '', group['last-delivered-id'], due and string.format('%.0f', math.max(0, due - now())) or '' }
