-- settle: what a nack does to deliveries, and what puts them back. Commands that settle and commands that fetch share it.

-- Where the message waits for its next delivery. One that has left the stream does not wait.
local function put_back(s, c, row, given_back, reason, due)
  if #redis.call('XRANGE', s.log, row.id, row.id) == 0 then
    redis.call('HDEL', c.notes, row.id)
    if c.keyed then free_key(s, c.name, row.id) end
    return
  end
  redis.call('HSET', c.notes, row.id, string.format('%.0f %.0f %s', row.number, given_back, reason))
  redis.call('ZADD', c.retry, due, row.member)
  redis.call('ZADD', s.key .. ':retrying', 0, row.member .. ':' .. c.name)
end

-- Nack tokens of 6 arguments each: epoch, message id, delivery number, delay in ms ('' = the consumer's backoff),
-- outcome, reason ('' = keep the last one).
local function nack_tokens(s, c, args, first, last, now)
  local live, stale = fence(s, c, token_rows(args, first, last, 6))
  for _, row in ipairs(live) do
    local delay, outcome, reason = tonumber(args[row.at + 3]), args[row.at + 4], args[row.at + 5]
    local _, given_back, last_reason = note_of(c, row.id)
    local count = row.number - given_back
    row.count, row.reason = row.number, reason ~= '' and reason or last_reason
    if outcome == 'reject' then
      bury(s, c, row, 'rejected', now)
      if c.keyed then free_key(s, c.name, row.id) end
    elseif outcome == 'release' then
      put_back(s, c, row, given_back + 1, row.reason, (delay or 0) > 0 and now + delay or 0)
    elseif exhausted(c, count) then
      bury(s, c, row, 'max_deliver', now)
      if c.keyed then free_key(s, c.name, row.id) end
    else
      delay = delay or redelivery_delay(c, count)
      put_back(s, c, row, given_back, row.reason, delay > 0 and now + delay or 0)
    end
  end
  local _, told = take_out(s, c, live)
  if not told then wake(s, c.name) end
  return #live, stale
end
