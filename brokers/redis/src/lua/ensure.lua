-- Makes a topic and its groups, or says what is missing. KEYS: meta. ARGV: `{topic}:`, create or check, partitions (empty: as it is),
-- partitions of a new topic, then group and start (`earliest`, or an id) in turn.
-- Returns the partitions (0: there is no such topic), whether the topic was made, the groups that were made or are missing.
local partitions = redis.call('HGET', KEYS[1], 'partitions')
local made = 0
if not partitions then
  if ARGV[2] == 'check' then
    return { 0, 0, {} }
  end
  partitions, made = ARGV[3] ~= '' and ARGV[3] or ARGV[4], 1
  redis.call('HSET', KEYS[1], 'partitions', partitions)
elseif ARGV[3] ~= '' and ARGV[3] ~= partitions then
  return { tonumber(partitions), 0, {} }
end
local groups = {}
for p = 0, partitions - 1 do
  local stream = ARGV[1] .. p
  if redis.call('EXISTS', stream) == 0 and ARGV[2] == 'create' then
    redis.call('XGROUP', 'CREATE', stream, 'convoke.new', '0', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', stream, 'convoke.new')
  end
  for i = 5, #ARGV, 2 do
    if not group_of(stream, ARGV[i]) then
      groups[ARGV[i]] = true
      if ARGV[2] == 'create' then
        -- How many came before is said too, so that what is discarded before it is read can be told.
        local info, start = named(redis.call('XINFO', 'STREAM', stream)), ARGV[i + 1]
        if start == 'earliest' then
          redis.call('XGROUP', 'CREATE', stream, ARGV[i], '0-0', 'ENTRIESREAD', info['entries-added'] - info.length)
        elseif start == '$' then
          redis.call('XGROUP', 'CREATE', stream, ARGV[i], '$', 'ENTRIESREAD', info['entries-added'])
        else
          redis.call('XGROUP', 'CREATE', stream, ARGV[i], start)
        end
      end
    end
  end
end
local names = {}
for name in pairs(groups) do
  names[#names + 1] = name
end
table.sort(names)
return { tonumber(partitions), made, names }
