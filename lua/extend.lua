-- extend: begin the ack wait of deliveries anew.
-- uses: entries holding ordering fence delivery
-- KEYS[1]  broker:{S}
-- ARGV     consumer; how many groups of tokens; then a group: stamp, delivery number, the message ids as a JSON list
-- returns  [extended, positions of the stale tokens among all, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens · log n)
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local ids, numbers = {}, {}
for group = 0, tonumber(ARGV[2]) - 1 do
  local _, number, more = group_at(c, ARGV, 3 + 3 * group)
  for _, id in ipairs(more) do
    ids[#ids + 1] = id
    numbers[#ids] = number
  end
end
local live, stale, now = live_rows(s, c, ids, numbers), {}, now_ms()
for i, id in ipairs(ids) do
  if live[i] then
    -- JUSTID leaves the delivery number as it is, so the token stays good. Of a message that has left the stream XCLAIM
    -- would drop the row: there the deadline alone says how long it is out.
    if #redis.call('XRANGE', s.log, id, id) > 0 then
      redis.call('XCLAIM', s.log, c.name, 'http', 0, id, 'IDLE', 0, 'JUSTID')
    end
    local _, given_back = note_of(c, id)
    redis.call('ZADD', c.deadlines, now + redelivery_delay(c, live[i][4] - given_back), sortable(id))
  else
    stale[#stale + 1] = i
  end
end
return { #ids - #stale, unpack(stale) }
