-- counts: what waits and what is out, exactly, in O(log n).

-- Whether events of the stream lie in the log whose time to live is over.
local function any_lapsed(s)
  if s.any_lapsed == nil then s.any_lapsed = s.schedules and redis.call('EXISTS', s.key .. ':lapsed') == 1 end
  return s.any_lapsed
end

-- Messages behind the cursor. An unfiltered event consumer needs no index: idx has no gaps from the first
-- undelivered entry to the last counted one, whatever was trimmed before it.
local function num_new(s, c)
  if c.index then return redis.call('ZLEXCOUNT', c.index, '(' .. sortable(c.cursor), '+') end
  if c.cursor ~= '' and sortable(c.cursor) >= sortable(s.seen) then return 0 end -- it may begin at a time that is yet to come
  local ahead = s.idx - math.max(c.position, s.first - 1)
  if ahead == 0 or not any_lapsed(s) then return ahead end
  return ahead - redis.call('ZLEXCOUNT', s.key .. ':lapsed', '(' .. sortable(cursor_of(s, c)), '+')
end

-- Messages behind which the cursor has moved: waiting for a retry, or for their key.
local function num_set_back(s, c)
  return redis.call('ZCARD', c.retry) + (c.keyed and redis.call('ZCARD', s.key .. ':parked:' .. c.name) or 0)
end

local function num_pending(s, c)
  return num_new(s, c) + num_set_back(s, c)
end

-- Out now, and not for the first time. Every such row has a deadline of its own, as have a few others: a first delivery
-- that was extended or came late, and what a plain client has acked. Where there are many, they are not told apart.
local function num_redelivered(s, c)
  local count = redis.call('ZCARD', c.deadlines)
  if count > 1000 then return count end
  for _, member in ipairs(redis.call('ZRANGE', c.deadlines, 0, -1)) do
    local id = stream_id(member)
    local p = redis.call('XPENDING', s.log, c.name, id, id, 1)[1]
    local _, given_back = note_of(c, id)
    if not p then redis.call('ZREM', c.deadlines, member) end
    if not p or p[4] - given_back <= 1 then count = count - 1 end
  end
  return count
end

local function num_ack_pending(s, c)
  return redis.call('XPENDING', s.log, c.name)[1]
end
