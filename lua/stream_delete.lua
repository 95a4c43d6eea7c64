-- stream_delete: delete a stream and all that it holds.
-- uses: filters entries holding ordering due forgetting schedule upkeep positions routes ending lifecycle
-- KEYS[1]  broker:{S}
-- ARGV     force: 1 = with its consumers
-- returns  the names of the consumers that went with it
-- errors   STREAM_NOT_FOUND, STREAM_IN_USE
-- cost     O(consumers)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
free_first(s)
local names = redis.call('SMEMBERS', s.key .. ':consumers')
if #names > 0 and ARGV[1] ~= '1' then return redis.error_reply('STREAM_IN_USE it has ' .. #names .. ' consumers') end
for _, name in ipairs(names) do redis.call('UNLINK', s.key .. ':consumer:' .. name, unpack(delivery_keys(s, name))) end
for _, field in ipairs(redis.call('HKEYS', s.key .. ':filters')) do
  if string.find(field, '^%x+$') then redis.call('UNLINK', s.key .. ':index:' .. field) end
end
for _, row in ipairs(redis.call('ZRANGE', s.key .. ':left', 0, -1)) do redis.call('UNLINK', s.key .. ':left:' .. string.match(row, '^%d+')) end
for _, part in ipairs({ ':log', ':records', ':dedupe', ':dedupe:old', ':plain', ':filters', ':routes', ':consumers',
  ':retrying', ':gone', ':left', ':index:all', ':leaving',
  ':delayed', ':delayed-events', ':ttl', ':lapsed', '' }) do redis.call('UNLINK', s.key .. part) end
if #names > 0 then wake(s, '') end
redis.call('PEXPIRE', s.key .. ':wake', 60000)
return names
