-- peek: the next messages, without delivering them.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: ahead
-- KEYS[1]  broker:{S}
-- ARGV     consumer; limit
-- returns  [again = 1]; else the reply; number and deliver_count are those that a delivery would get
-- reply    again / id number deliver_count head body
-- errors   CONSUMER_NOT_FOUND
-- cost     O(limit); it looks at 3000 messages at most, if many ordering keys are busy
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local limit, bytes = tonumber(ARGV[2]), MAX_ANSWER_BYTES
if not (ready(s, c) and expire(s, c)) then return { 1 } end
local reply, LOOKS = { 0 }, 3000

local function show(entry, number, given_back)
  local head, body = content_of(s, entry)
  for _, value in ipairs({ entry[1], number, number - given_back, head, body }) do reply[#reply + 1] = value end
  limit, bytes = limit - 1, bytes - #body - MESSAGE_BYTES
  if bytes < s.largest + MESSAGE_BYTES then limit = 0 end
end

for _, row in ipairs(redeliverable(s, c, limit, limit)) do
  local entry = limit > 0 and redis.call('XRANGE', s.log, row.id, row.id)[1]
  local number, given_back = note_of(c, row.id)
  if entry then show(entry, (row.number or number) + 1, given_back) end
end
if limit > 0 then
  visit_free(s, c, LOOKS, math.max(limit, 50), function(entry)
    show(entry, 1, 0)
    return limit > 0
  end)
end
keep_sweep(c)
return reply
