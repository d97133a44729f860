-- Moves what clients that know nothing of partitions have written. KEYS: their stream. ARGV: `{topic}:`, then id and partition in turn.
-- Returns the ids of what cannot be moved.
local refused = {}
for i = 2, #ARGV, 2 do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if entry and #entry[2] > 4000 then
    refused[#refused + 1] = ARGV[i]
  elseif entry then
    redis.call('XADD', ARGV[1] .. ARGV[i + 1], '*', unpack(entry[2]))
    redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
return refused
