-- nack: settle deliveries as not done: to be delivered again, given back, or rejected.
-- uses: entries fence delivery
-- KEYS[1]  broker:{S}
-- ARGV     consumer; then 6 a token: epoch, message id, delivery number, delay in ms ('' = the consumer's backoff),
--          outcome (retry, release, reject), reason ('' = keep the last one)
-- returns  [nacked, positions of the stale tokens, from 1]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens · log n)
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local now = now_ms()
local live, stale = fence(s, c, token_rows(ARGV, 2, 6))

-- Where the message waits for its next delivery. One that has left the stream does not wait.
local function put_back(row, given_back, reason, delay)
  if #redis.call('XRANGE', s.log, row.id, row.id) == 0 then
    redis.call('HDEL', c.notes, row.id)
    return
  end
  redis.call('HSET', c.notes, row.id, string.format('%d %d %s', row.number, given_back, reason))
  redis.call('ZADD', c.retry, delay > 0 and string.format('%.0f', now + delay) or 0, row.member)
  redis.call('ZADD', s.key .. ':retrying', 0, row.member .. ':' .. c.name)
end

for _, row in ipairs(live) do
  local delay, outcome, reason = tonumber(ARGV[row.at + 3]), ARGV[row.at + 4], ARGV[row.at + 5]
  local _, given_back, last_reason = note_of(c, row.id)
  if reason == '' then reason = last_reason end
  row.count, row.reason, row.member = row.number, reason, row.member or sortable(row.id)
  if outcome == 'reject' then
    bury(s, c, row, 'rejected', now)
  elseif outcome == 'release' then
    put_back(row, given_back + 1, reason, delay or 0)
  elseif exhausted(c, row.number - given_back) then
    bury(s, c, row, 'max_deliver', now)
  else
    put_back(row, given_back, reason, delay or redelivery_delay(c, row.number - given_back))
  end
end
take_out(s, c, live)
if #live > 0 and not c.full then wake(s, c.name) end
return { #live, unpack(stale) }
