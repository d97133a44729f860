-- Hands out what was handed out before: `ids`, with what is kept of each. What is gone from the stream is told, and forgotten.
local function hand(stream, group, keptkey, duekey, ids, time)
  local out, lost, counts, live = {}, {}, {}, {}
  for _, id in ipairs(ids) do
    local row = redis.call('XPENDING', stream, group, id, id, 1)[1]
    if row then
      live[#live + 1] = id
      counts[id] = row[4] + 1
    end
  end
  if #live == 0 then
    return out, lost
  end
  local fields = {}
  for _, entry in ipairs(redis.call('XCLAIM', stream, group, 'owner', 0, unpack(live))) do
    if entry and entry[2] then
      fields[entry[1]] = entry[2]
    end
  end
  for _, id in ipairs(live) do
    local kept = redis.call('HMGET', keptkey, id, id .. 'd')
    if fields[id] then
      local attempts, due = 0, 0
      if kept[1] then
        attempts, due = string.match(kept[1], '^(%d+) (%d+)')
      end
      local wait = math.max(0, tonumber(due) - time)
      out[#out + 1] = { id, counts[id], tonumber(attempts), tonumber(kept[2] or 0), wait, kept[1] or kept[2] and 1 or 0, fields[id] }
    else
      redis.call('XACK', stream, group, id)
      redis.call('HDEL', keptkey, id, id .. 'd')
      redis.call('ZREM', duekey, id)
      lost[#lost + 1] = id
    end
  end
  return out, lost
end
