-- Discards what every group has settled and is older than that. KEYS: stream. ARGV: milliseconds.
local low
local function lower(id)
  if not low or before(id, low) then
    low = id
  end
end
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = named(row)
  lower(group['last-delivered-id'])
  if group.pending > 0 then
    lower(redis.call('XPENDING', KEYS[1], group.name)[2])
  end
end
if not low then
  return 0
end
lower(string.format('%.0f-0', math.max(0, now() - ARGV[1])))
return redis.call('XTRIM', KEYS[1], 'MINID', '~', low)
