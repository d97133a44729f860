-- What is new. KEYS: lease, stream. ARGV: token, group, count, the last id that was given out.
-- Returns the entries, and whether what was before them is gone: up to where the stream was discarded.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'FENCED'
end
local reply = redis.call('XREADGROUP', 'GROUP', ARGV[2], 'owner', 'COUNT', ARGV[3], 'STREAMS', KEYS[2], '>')
if not reply then
  return { {}, '' }
end
local entries = reply[1][2]
-- The one before the first is the last one of the time before, unless something was discarded in between.
local earlier = redis.call('XREVRANGE', KEYS[2], '(' .. entries[1][1], '-', 'COUNT', 1)[1]
local discarded = ''
if not (earlier and earlier[1] == ARGV[4]) then
  discarded = named(redis.call('XINFO', 'STREAM', KEYS[2]))['max-deleted-entry-id'] or ''
end
return { entries, discarded }
