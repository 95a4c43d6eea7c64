-- stream_update: change fields of a stream.
-- uses: filters entries holding ordering due schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     2 a field, as for stream_create
-- returns  OK
-- errors   STREAM_NOT_FOUND
-- cost     O(fields), and what a tighter limit drops
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
free_first(s)
redis.call('HSET', KEYS[1], 'updated_at', s.wall, unpack(ARGV))
trim(open_stream(KEYS[1]))
return redis.status_reply('OK')
