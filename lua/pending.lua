-- pending: the deliveries out, in stream order.
-- uses: entries holding ordering fence redelivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; after, a message id ('' = from the first); limit
-- returns  [again = 1]; else the reply. after: the id to continue after, '' at the end; times in ms; reason: of its
--          last nack; worker: who has it, '' = without a name; expired: 1 = its ack wait is over
-- reply    after / id deliver_count delivered_at expires_at reason worker expired
-- errors   CONSUMER_NOT_FOUND
-- cost     O(limit), and the exhausted deliveries that it finds expired
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not expire(s, c) then return { 1 } end
local reply = {}
local limit = tonumber(ARGV[3])
local rows = ARGV[2] == GREATEST and {}
  or redis.call('XPENDING', s.log, c.name, ARGV[2] == '' and '-' or '(' .. ARGV[2], '+', limit + 1)
local read_at = now_ms()
reply[1] = rows[limit + 1] and rows[limit][1] or ''
for i = 1, math.min(limit, #rows) do
  local p = rows[i]
  local _, given_back, reason = note_of(c, p[1])
  local count = p[4] - given_back
  local delivered_at, expires_at, expired = times_out(s, c, p, count, read_at)
  for _, value in ipairs({ p[1], count, delivered_at, expires_at, reason, worker_of(p[2]), expired and 1 or 0 }) do
    reply[#reply + 1] = value
  end
end
return reply
