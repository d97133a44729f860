-- What is new. KEYS: lease, stream. ARGV: token, group, count, the last id that was given out.
-- Returns the entries, and whether something before them was discarded that was never given out.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'FENCED'
end
local gap = 0
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if first and before(ARGV[4], first[1]) then
  -- Nothing is left of what was given out: so many should be gone, and no more.
  local info, read = named(redis.call('XINFO', 'STREAM', KEYS[2])), group_of(KEYS[2], ARGV[2])['entries-read']
  if read and info['entries-added'] - info.length > read then
    gap = 1
  end
end
local reply = redis.call('XREADGROUP', 'GROUP', ARGV[2], 'owner', 'COUNT', ARGV[3], 'STREAMS', KEYS[2], '>')
return { reply and reply[1][2] or {}, gap }
