-- dead_letters: a page of a consumer's dead letters, in the order of their deaths.
-- uses: entries holding ordering fence redelivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; after, a position ('' = from the first); limit; collection_id, reason ('' = any); up to, a
--          position ('' = the last one now); [how many bytes they may have]
-- returns  [again = 1]; else the reply. after: the position to continue after, '' at the end; until: up to where; times
--          in ms
-- reply    after until / id deliver_count reason last_nack_reason last_delivered_at dead_at head body last_worker
-- errors   CONSUMER_NOT_FOUND
-- cost     O(what it looks at): at most 500 letters or 512 KiB; so it may give fewer than there are
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not expire(s, c) then return { 1 } end
local letters, go_on, last = page(c.dead, ARGV[2], ARGV[6], tonumber(ARGV[3]), ARGV[7], function(row)
  return letter_of(row, ARGV[4], ARGV[5])
end)
local reply = { go_on, last }
for _, f in ipairs(letters) do
  for _, value in ipairs({ f.id, f.deliver_count, f.reason, f.last_nack_reason, f.last_delivered_at, f.dead_at, f.head,
    f.body, f.last_worker or '' }) do reply[#reply + 1] = value end
end
return reply
