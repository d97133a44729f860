-- What was given out and is not settled, in order. KEYS: lease, stream, kept, due. ARGV: token, group, from, count.
-- Returns where to go on (empty: at the end), the messages, what is lost. What waits for its time, and may be passed, is left.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'FENCED'
end
local count, time = tonumber(ARGV[4]), now()
local page = math.max(64, count)
local rows = redis.call('XPENDING', KEYS[2], ARGV[2], ARGV[3], '+', page)
local ids, goon = {}, ''
for _, row in ipairs(rows) do
  if #ids == count then
    break
  end
  local due, hold = string.match(redis.call('HGET', KEYS[3], row[1]) or '0 0 1', '^%d+ (%d+) (%d)')
  if hold == '1' or tonumber(due) <= time then
    ids[#ids + 1] = row[1]
  end
  goon = '(' .. row[1]
end
if #rows < page and (#rows == 0 or goon == '(' .. rows[#rows][1]) then
  goon = ''
end
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[4], id)
end
local out, lost = hand(KEYS[2], ARGV[2], KEYS[3], KEYS[4], ids, time)
return { goon, out, lost }
