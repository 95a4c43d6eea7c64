-- extend: begin the ack wait of deliveries anew.
-- uses: entries ordering fence delivery
-- KEYS[1]  broker:{S}
-- ARGV     consumer; then 3 a token: epoch, message id, delivery number
-- returns  [extended, positions of the stale tokens, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens · log n)
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local live, stale = fence(s, c, token_rows(ARGV, 2, #ARGV, 3))
local now = now_ms()
for _, row in ipairs(live) do
  -- JUSTID leaves the delivery number as it is, so the token stays good. Of a message that has left the stream XCLAIM
  -- would drop the row: there the deadline alone says how long it is out.
  if #redis.call('XRANGE', s.log, row.id, row.id) > 0 then
    redis.call('XCLAIM', s.log, c.name, 'http', 0, row.id, 'IDLE', 0, 'JUSTID')
  end
  local _, given_back = note_of(c, row.id)
  redis.call('ZADD', c.deadlines, now + redelivery_delay(c, row.number - given_back), row.member)
end
return { #live, unpack(stale) }
