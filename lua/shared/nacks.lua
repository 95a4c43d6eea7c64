-- nacks: ends deliveries without an ack, and makes messages wait for their next delivery.

-- Makes a message wait for its next delivery, unless it has left the stream. `delivered_at`: by Redis' clock.
local function put_back(s, c, id, number, given_back, delivered_at, reason, due)
  if #redis.call('XRANGE', s.log, id, id) == 0 then
    redis.call('HDEL', c.notes, id)
    if c.keyed then free_key(s, c.name, id) end
    return
  end
  write_note(c, id, number, given_back, delivered_at, due == 0 and s.wall or due - s.lead, reason)
  redis.call('ZADD', c.retry, string.format('%.0f', due), sortable(id))
  redis.call('ZADD', s.key .. KEY.retrying, 0, sortable(id) .. ':' .. c.name)
end

-- Ends a delivery without an ack: the message dies, or waits for its next delivery. The caller removes its row of the
-- PEL. `given_back`: deliveries that do not count, with this one if it was released.
local function give_back(s, c, p, given_back, outcome, delay, reason)
  local id, count, delivered_at = p[1], p[4] - given_back, s.wall - idle_of(s, c, p)
  if outcome == 'reject' or exhausted(c, count) then -- also a released one, if max_deliver was lowered
    bury(s, c, { id = id, number = p[4], given_back = given_back, reason = reason, delivered_at = delivered_at,
      worker = worker_of(p[2]) }, outcome == 'reject' and 'rejected' or 'max_deliver')
    return
  end
  if outcome == 'retry' then delay = delay or redelivery_delay(c, count) end
  put_back(s, c, id, p[4], given_back, delivered_at, reason, (delay or 0) > 0 and s.now + delay or 0)
end

-- Nacks tokens of 6 arguments each, from a position to the end: epoch, message id, delivery number, delay in ms ('' =
-- the consumer's backoff), outcome, reason ('' = keep the last one). Returns how many, and the positions of the stale
-- ones.
local function nack_tokens(s, c, args, first)
  local ids, numbers, nacked, stale = {}, {}, {}, {}
  for at = first, #args, 6 do
    ids[#ids + 1] = args[at + 1]
    numbers[#ids] = args[at] == c.epoch and tonumber(args[at + 2])
  end
  local live = live_rows(s, c, ids, numbers)
  for i, id in ipairs(ids) do
    local p, at = live[i], first + 6 * (i - 1)
    if p then
      local delay, outcome, reason = tonumber(args[at + 3]), args[at + 4], args[at + 5]
      local _, given_back, last_reason = note_of(c, id)
      if outcome == 'release' then given_back = given_back + 1 end
      nacked[#nacked + 1] = id
      give_back(s, c, p, given_back, outcome, delay, reason ~= '' and reason or last_reason)
    else
      stale[#stale + 1] = i
    end
  end
  if not take_out(s, c, nacked) then wake(s, c.name) end
  return #nacked, stale
end
