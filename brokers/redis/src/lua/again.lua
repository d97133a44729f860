-- These once more. KEYS: lease, stream, kept, due. ARGV: token, group, ids.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'FENCED'
end
local ids = {}
for i = 3, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
local out, lost = hand(KEYS[2], ARGV[2], KEYS[3], KEYS[4], ids, now())
return { '', out, lost }
