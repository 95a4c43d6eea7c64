-- ack: settle deliveries as done.
-- uses: ordering fence
-- KEYS[1]  broker:{S}
-- ARGV     consumer; then 3 a token: epoch, message id, delivery number
-- returns  [acked, positions of the stale tokens, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens)
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local acked, stale = ack_tokens(s, c, ARGV, 2, #ARGV)
return { acked, unpack(stale) }
