-- extend: start the ack wait of deliveries again.
-- uses: entries holding ordering fence redelivery
-- KEYS[1]  broker:{S}
-- ARGV     consumer; how many groups of tokens; then per group: epoch, delivery number, the message ids as a JSON list
-- returns  [extended, positions of the stale tokens among all, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens · log n)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local ids, numbers = {}, {}
for group = 0, tonumber(ARGV[2]) - 1 do
  local number, more = group_at(c, ARGV, 3 + 3 * group)
  for _, id in ipairs(more) do
    ids[#ids + 1] = id
    numbers[#ids] = number
  end
end
-- The PEL keeps when each was delivered; only its deadline says how long it stays out.
local live, stale = live_rows(s, c, ids, numbers), {}
for i, id in ipairs(ids) do
  if live[i] then
    local _, given_back = note_of(c, id)
    local count = live[i][4] - given_back
    set_deadline(s, c, id, s.now + redelivery_delay(c, count), count)
  else
    stale[#stale + 1] = i
  end
end
return { #ids - #stale, unpack(stale) }
