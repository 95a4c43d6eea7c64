-- stream_delete: delete a stream and all that it holds.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep routes leftovers lifecycle
-- KEYS[1]  broker:{S}
-- ARGV     force: 1 = with its consumers
-- returns  the names of the consumers that were deleted with it
-- errors   STREAM_NOT_FOUND, STREAM_IN_USE
-- cost     O(consumers)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
free_first(s)
local names = redis.call('SMEMBERS', s.key .. KEY.consumers)
if #names > 0 and ARGV[1] ~= '1' then return redis.error_reply('STREAM_IN_USE it has ' .. #names .. ' consumers') end
for _, name in ipairs(names) do redis.call('UNLINK', s.key .. KEY.consumer .. name, unpack(delivery_keys(s, name))) end
for _, field in ipairs(redis.call('HKEYS', s.key .. KEY.filters)) do
  if string.find(field, '^%x+$') then redis.call('UNLINK', s.key .. KEY.index .. field) end
end
for _, row in ipairs(redis.call('ZRANGE', s.key .. KEY.left, 0, -1)) do
  redis.call('UNLINK', s.key .. KEY.left_of .. string.match(row, '^%d+'))
end
for _, part in ipairs({ KEY.log, KEY.records, KEY.dedupe, KEY.dedupe_old, KEY.plain, KEY.filters, KEY.routes,
  KEY.consumers, KEY.retrying, KEY.gone, KEY.left, KEY.index_all, KEY.leaving,
  KEY.delayed, KEY.delayed_events, KEY.ttl, KEY.lapsed, '' }) do redis.call('UNLINK', s.key .. part) end
if #names > 0 then wake(s, '') end
redis.call('PEXPIRE', s.key .. KEY.wake, 60000)
return names
