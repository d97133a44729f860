-- Deletes a topic, unless somebody reads it. KEYS: meta. ARGV: `{topic}:`, the topic.
-- Returns 0 if there is none, -1 if it is read.
local partitions = redis.call('HGET', KEYS[1], 'partitions')
if not partitions then
  return 0
end
local keys, groups, time = { KEYS[1], ARGV[2], ARGV[1] .. 'later', ARGV[1] .. 'scheduled' }, {}, now()
for p = 0, partitions - 1 do
  local stream = ARGV[1] .. p
  if redis.call('EXISTS', stream) == 1 then
    for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      groups[named(row).name] = true
    end
  end
  keys[#keys + 1] = stream
end
for name in pairs(groups) do
  local of = ARGV[1] .. name
  if redis.call('ZCOUNT', of .. ':members', time, '+inf') > 0 then
    return -1
  end
  for _, kind in ipairs({ ':members', ':news', ':epoch', ':open' }) do
    keys[#keys + 1] = of .. kind
  end
  for p = 0, partitions - 1 do
    for _, kind in ipairs({ ':lease:', ':kept:', ':due:' }) do
      keys[#keys + 1] = of .. kind .. p
    end
  end
end
for _, key in ipairs(keys) do
  redis.call('UNLINK', key)
end
return 1
