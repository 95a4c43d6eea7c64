-- scheduled: delayed events, in the order of their times.
-- uses: filters entries holding ordering due forgetting schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     after, a cursor ('' = from the first); limit
-- returns  [again = 1]; else the reply. after: the cursor to continue after, '' at the end; key: its ordering key,
--          '' = none; deliver_at: ms
-- reply    again after / id collection_id key deliver_at
-- errors   STREAM_NOT_FOUND
-- cost     O(limit)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local reply, delayed, limit = { 0, '' }, s.key .. KEY.delayed, tonumber(ARGV[2])
local due, ticket = string.match(ARGV[1], '^(%d+)%-(%d+)$')
local rank = 0
if ticket then
  local last
  rank, last = redis.call('ZCOUNT', delayed, '-inf', '(' .. due), redis.call('ZCOUNT', delayed, '-inf', due)
  while rank < last do -- tickets of one time are in their own order; this one may be gone
    local middle = math.floor((rank + last) / 2)
    if redis.call('ZRANGE', delayed, middle, middle)[1] <= ticket then rank = middle + 1 else last = middle end
  end
end
local rows = redis.call('ZRANGE', delayed, rank, rank + limit, 'WITHSCORES')
for i = 1, math.min(#rows, 2 * limit), 2 do
  local event = cjson.decode(redis.call('HGET', s.key .. KEY.delayed_events, rows[i]))
  for _, value in ipairs({ id_in(event[4]), event[1], key_in('events', event[4]), tonumber(rows[i + 1]) }) do
    reply[#reply + 1] = value
  end
  if i + 2 == 2 * limit + 1 and #rows > 2 * limit then reply[2] = string.format('%.0f-%s', rows[i + 1], rows[i]) end
end
return reply
