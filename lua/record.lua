-- record: the current version of one record.
-- uses: entries
-- KEYS[1]  broker:{S}
-- ARGV     record id
-- returns  [message id, head, body]
-- errors   STREAM_NOT_FOUND, RECORD_NOT_FOUND
-- cost     O(log n)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
local row = redis.call('HGET', s.key .. KEY.records, ARGV[1])
local entry = row and redis.call('XRANGE', s.log, string.match(row, '^%S+'), string.match(row, '^%S+'))[1]
if not entry then return redis.error_reply('RECORD_NOT_FOUND no such record') end
return { entry[1], content_of(s, entry) }
