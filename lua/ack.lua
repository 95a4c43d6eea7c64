-- ack: settle deliveries as done.
-- uses: fence
-- KEYS[1]  broker:{S}
-- ARGV     consumer; then 3 a token: epoch, message id, delivery number
-- returns  [acked, positions of the stale tokens, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens)
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local live, stale = fence(s, c, token_rows(ARGV, 2, 3))
local ids = take_out(s, c, live)
if ids then redis.call('HDEL', c.notes, unpack(ids)) end
return { #live, unpack(stale) }
