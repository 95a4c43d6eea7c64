-- nack: settle deliveries as not done: deliver them again, give them back, or reject them.
-- uses: entries holding ordering fence redelivery nacks
-- KEYS[1]  broker:{S}
-- ARGV     consumer; then 6 per token: epoch, message id, delivery number, delay in ms ('' = the consumer's backoff),
--          outcome (retry; release: the delivery does not count; reject: a dead letter now), reason ('' = keep the
--          last)
-- returns  [nacked, positions of the stale tokens, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens · log n)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local nacked, stale = nack_tokens(s, c, ARGV, 2)
return { nacked, unpack(stale) }
