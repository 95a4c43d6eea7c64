-- stream_update: change fields of a stream.
-- uses: filters entries holding ordering due forgetting schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     two per field, as for stream_create
-- returns  [again = 1]: the fields are set, but a tighter limit has yet to drop messages; or OK
-- errors   STREAM_NOT_FOUND
-- cost     O(fields); a tighter limit drops messages in bounded steps
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
free_first(s)
redis.call('HSET', KEYS[1], 'updated_at', s.wall, unpack(ARGV))
s = open_stream(KEYS[1])
local done = trim(s)
return drop_waiting(s) and done and redis.status_reply('OK') or { 1 }
