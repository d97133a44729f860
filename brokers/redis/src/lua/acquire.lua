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
-- Who had it and did not give it back. Whose owner asks again may not have heard the answer: what it said stands behind the owner
-- until a sign of life shows the token, which was in it.
local owner, untold = string.match(redis.call('HGET', KEYS[3], ARGV[3]) or '', '^([^\n]*)\n?(.*)$')
local dead = (owner == '' or owner == ARGV[1]) and untold or owner
redis.call('HSET', KEYS[3], ARGV[3], dead == '' and ARGV[1] or ARGV[1] .. '\n' .. dead)
local due = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
return { text, dead, group['last-delivered-id'], due and string.format('%.0f', math.max(0, due - now())) or '' }
