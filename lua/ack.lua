-- ack: settle deliveries as done.
-- uses: holding fence
-- KEYS[1]  broker:{S}
-- ARGV     consumer; how many groups of tokens; then per group: epoch, delivery number, the message ids as a JSON list
-- returns  [acked, positions of the stale tokens among all, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens)
local s, c = open_settling(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local acked, stale = ack_tokens(s, c, ARGV, 3, tonumber(ARGV[2]), c.keyed and free_keys)
return { acked, unpack(stale) }
