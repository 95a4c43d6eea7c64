-- dead_letters: a page of a consumer's dead letters, in the order of their deaths.
-- uses: entries holding ordering fence delivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; after, a position ('' = from the first); how many to look at; collection_id, reason ('' = any)
-- returns  [position to go on after, or '' at the end; then 8 a dead letter: message id, deliver count, reason,
--          last nack reason, last delivered at (ms), dead at (ms), head, body]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(how many to look at)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not expire(s, c) then return { 1 } end
local rows, go_on = page(c.dead, ARGV[2], tonumber(ARGV[3]))
local reply = { go_on }
for _, row in ipairs(rows) do
  local f = {}
  for i = 1, #row[2], 2 do f[row[2][i]] = row[2][i + 1] end
  if (ARGV[4] == '' or ARGV[4] == f.collection_id) and (ARGV[5] == '' or ARGV[5] == f.reason) then
    for _, value in ipairs({ f.id, f.deliver_count, f.reason, f.last_nack_reason, f.last_delivered_at, f.dead_at, f.head,
      f.body }) do reply[#reply + 1] = value end
  end
end
return reply
