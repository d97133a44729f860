-- The server's time in milliseconds: the one clock that all members share.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether one entry id comes before another.
local function before(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
  return ams < bms or (ams == bms and aseq < bseq)
end

-- A reply of alternating names and values, by name.
local function named(row)
  local result = {}
  for i = 1, #row, 2 do
    result[row[i]] = row[i + 1]
  end
  return result
end

local function group_of(stream, name)
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = named(row)
    if group.name == name then
      return group
    end
  end
end
