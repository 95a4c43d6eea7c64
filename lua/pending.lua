-- pending: what is out, in stream order.
-- uses: entries holding ordering fence delivery
-- KEYS[1]  broker:{S}
-- ARGV     consumer; after, a message id ('' = from the first); limit
-- returns  [id to go on after, or '' at the end; then 5 a delivery: message id, deliver count, delivered at (ms), expires at (ms), reason of its last nack]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(limit), and the exhausted deliveries that it finds expired
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local reply, now = {}, now_ms()
sweep_dead(s, c, now)
local limit = tonumber(ARGV[3])
local rows = ARGV[2] == GREATEST and {} or redis.call('XPENDING', s.log, c.name, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', limit + 1)
reply[1] = rows[limit + 1] and rows[limit][1] or ''
for i = 1, math.min(limit, #rows) do
  local p = rows[i]
  local _, given_back, reason = note_of(c, p[1])
  local delivered_at = now - p[3]
  for _, value in ipairs({ p[1], p[4] - given_back, delivered_at, delivered_at + c.ack_wait_ms, reason }) do
    reply[#reply + 1] = value
  end
end
return reply
