-- Gives a partition back. KEYS: lease, open, news. ARGV: token, partition.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', 1, '*', 'free', ARGV[2])
return 1
