-- Settles. KEYS: lease, stream, kept, due. ARGV: token, group, then any number of
--   A n id...               done, and nothing is kept of them
--   C id                    done, and what is kept of it goes
--   N id attempts delay hold   not done
--   M id deaths             tried alone
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'FENCED'
end
local time, i = now(), 3
while i <= #ARGV do
  local what, id = ARGV[i], ARGV[i + 1]
  if what == 'A' then
    redis.call('XACK', KEYS[2], ARGV[2], unpack(ARGV, i + 2, i + 1 + id))
    i = i + 2 + id
  elseif what == 'C' then
    redis.call('XACK', KEYS[2], ARGV[2], id)
    redis.call('HDEL', KEYS[3], id, id .. 'd')
    redis.call('ZREM', KEYS[4], id)
    i = i + 2
  elseif what == 'N' then
    local due = string.format('%.0f', time + ARGV[i + 3])
    redis.call('HSET', KEYS[3], id, ARGV[i + 2] .. ' ' .. due .. ' ' .. ARGV[i + 4])
    if ARGV[i + 4] == '0' then
      redis.call('ZADD', KEYS[4], due, id)
    end
    i = i + 5
  else
    redis.call('HSET', KEYS[3], id .. 'd', ARGV[i + 2])
    i = i + 3
  end
end
return 1
