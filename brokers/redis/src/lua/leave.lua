-- KEYS: members, news. ARGV: me.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'left', ARGV[1])
return 1
