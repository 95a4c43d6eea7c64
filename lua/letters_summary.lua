-- letters_summary: what a consumer's dead letters are about, without the letters.
-- uses: entries holding ordering fence redelivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; after, a position ('' = from the first); up to, a position ('' = the last one now)
-- returns  [again = 1]; else the reply. total: number of all letters; after: the position to continue after, '' at the
--          end; until: up to where
-- reply    again total after until / reason last_nack_reason collection_id dead_at
-- errors   CONSUMER_NOT_FOUND
-- cost     O(what it looks at): at most 500 letters or 512 KiB
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not expire(s, c) then return { 1 } end
local letters, go_on, last = page(c.dead, ARGV[2], ARGV[3], ENTRIES_A_CALL, math.huge, fields_of)
local reply = { 0, redis.call('XLEN', c.dead), go_on, last }
for _, f in ipairs(letters) do
  for _, value in ipairs({ f.reason, f.last_nack_reason, f.collection_id, f.dead_at }) do reply[#reply + 1] = value end
end
return reply
