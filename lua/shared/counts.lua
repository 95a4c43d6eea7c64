-- counts: how many messages wait and how many are out, exactly, in O(log n).

-- Whether the log has events whose time to live is over.
local function any_lapsed(s)
  if s.any_lapsed == nil then s.any_lapsed = s.schedules and redis.call('EXISTS', s.key .. KEY.lapsed) == 1 end
  return s.any_lapsed
end

-- Whether plain clients have added to the log of a record stream, or deleted from it. What they add is no record: it is
-- not delivered, so consumers read what the index lists.
local function is_mixed(s)
  if s.mixed == nil then
    s.mixed = s.kind == 'records' and redis.call('XLEN', s.log) ~= redis.call('ZCARD', s.key .. KEY.index_all)
  end
  return s.mixed
end

-- The last id of the log, from which a waiting reader continues.
local function last_id(s)
  local last = is_mixed(s) and redis.call('XREVRANGE', s.log, '+', '-', 'COUNT', 1)[1]
  return last and last[1] or s.seen
end

-- Messages that the stream holds.
local function num_messages(s)
  local entries = redis.call('XLEN', s.log)
  return s.kind == 'records' and math.min(entries, redis.call('ZCARD', s.key .. KEY.index_all)) or entries
end

-- Messages that the consumer has not reached. An unfiltered event consumer needs no index: idx has no gaps from its
-- next entry to the last counted one, even after a trim.
local function num_new(s, c)
  if c.index then return redis.call('ZLEXCOUNT', c.index, '(' .. sortable(c.cursor), '+') end
  if c.start then return 0 end -- the log has not reached its start
  local ahead = s.idx - math.max(c.position, s.first - 1)
  if ahead == 0 or not any_lapsed(s) then return ahead end
  return ahead - redis.call('ZLEXCOUNT', s.key .. KEY.lapsed, '(' .. sortable(cursor_of(s, c)), '+')
end

-- Messages that it has reached and that wait for a retry or for their ordering key.
local function num_set_back(s, c)
  return redis.call('ZCARD', c.retry) + (c.keyed and redis.call('HLEN', s.key .. KEY.parked .. c.name) or 0)
end

-- Those of them that were delivered before.
local function num_retrying(s, c)
  return num_set_back(s, c) - (c.keyed and redis.call('SCARD', c.fresh) or 0)
end

local function num_pending(s, c)
  return num_new(s, c) + num_set_back(s, c)
end

local function num_ack_pending(s, c)
  return redis.call('XPENDING', s.log, c.name)[1]
end

-- Deliveries out with a deliver count above 1: each has its own deadline. If there are few, those that a plain client
-- has acked are found and not counted; otherwise they count until their ack wait is over.
local function num_redelivered(s, c)
  local count = redis.call('ZCARD', c.deadlines)
  if count > 0 and count <= 500 then
    local ids = redis.call('ZRANGE', c.deadlines, 0, -1)
    for i, member in ipairs(ids) do ids[i] = stream_id(member) end
    local rows = rows_of(s, c, ids)
    for _, id in ipairs(ids) do
      if not rows[id] then forget_deadline(c, id) end
    end
    count = redis.call('ZCARD', c.deadlines)
  end
  return count - redis.call('SCARD', c.firsts)
end
