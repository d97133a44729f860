-- I am alive, and so is what I own. KEYS: members, news, open, lease of each partition, from the first. ARGV: me, ttl, my token of each
-- partition.
local time = now()
local ttl = tonumber(ARGV[2])
local new = redis.call('ZADD', KEYS[1], time + ttl, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
redis.call('PEXPIRE', KEYS[1], ttl * 4)
if new == 1 then
  redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'joined', ARGV[1])
end
local holders = {}
for i = 4, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if holder and holder == ARGV[i - 1] then
    redis.call('PEXPIRE', KEYS[i], ttl)
    -- I know the token: I have heard whose death came with it.
    if string.find(redis.call('HGET', KEYS[3], i - 4) or '', '\n', 1, true) then
      redis.call('HSET', KEYS[3], i - 4, ARGV[1])
    end
  end
  holders[#holders + 1] = holder or ''
end
return { redis.call('ZRANGE', KEYS[1], 0, -1), holders }
