-- consumer_info: a consumer's fields and counts.
-- uses: filters entries holding ordering keys schedule upkeep positions counts fence delivery
-- KEYS[1]  broker:{S}
-- ARGV     name
-- returns  [behind = 1], or [0, num_pending, num_ack_pending, num_dead, num_redelivered, paused, then 2 a field, name and value]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(log n), and the exhausted deliveries that it finds expired
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local now = now_ms()
if not ready(s, c, now) then return { 1 } end
sweep_dead(s, c, now)
local reply = { 0, num_pending(s, c), num_ack_pending(s, c), redis.call('XLEN', c.dead), num_redelivered(s, c),
  c.paused_until > now and 1 or 0 }
for _, value in ipairs(redis.call('HGETALL', c.key)) do reply[#reply + 1] = value end
return reply
