-- consumer_info: a consumer's fields and counts.
-- uses: filters entries holding ordering due schedule upkeep positions fence counts delivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     name
-- returns  [behind = 1]; else
-- reply    behind num_pending num_ack_pending num_dead num_redelivered paused / name value
-- errors   CONSUMER_NOT_FOUND
-- cost     O(log n), and the exhausted deliveries that it finds expired
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not (ready(s, c) and expire(s, c)) then return { 1 } end
local reply = { 0, num_pending(s, c), num_ack_pending(s, c), redis.call('XLEN', c.dead), num_redelivered(s, c),
  c.paused and 1 or 0 }
for _, value in ipairs(redis.call('HGETALL', c.key)) do reply[#reply + 1] = value end
return reply
