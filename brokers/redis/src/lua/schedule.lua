-- Keeps a message until its time. KEYS: meta, later, scheduled. ARGV: due, partition, fields.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('ZADD', KEYS[3], ARGV[1], id .. ' ' .. ARGV[2])
return id
