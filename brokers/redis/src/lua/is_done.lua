-- Whether a group has settled everything up to an id. KEYS: stream. ARGV: group, id.
local group = group_of(KEYS[1], ARGV[1])
if not group then
  return redis.error_reply('NOGROUP no such group')
end
if before(group['last-delivered-id'], ARGV[2]) then
  -- Nothing may be left between the two.
  local left = redis.call('XRANGE', KEYS[1], '(' .. group['last-delivered-id'], ARGV[2], 'COUNT', 1)
  if #left > 0 then
    return 0
  end
end
return #redis.call('XPENDING', KEYS[1], ARGV[1], '-', ARGV[2], 1) == 0 and 1 or 0
