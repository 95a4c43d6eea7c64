-- delivery: what may be delivered again, and when a message is dead.
--
-- Rows that were delivered once expire in stream order: their times of delivery grow with their ids. So the sweep looks
-- at the first of them alone, from where it stopped (`sweep`), and not before that one can have expired (`sweep_at`).
-- All other rows (delivered again, extended, claimed by a plain client) have a deadline of their own in a zset. Every
-- row of the PEL is behind the sweep position or in that zset, so none is missed and none is looked at in vain.

local ROWS_A_CALL = 3000

-- `count` is the deliver count: deliveries that were given back are not in it.
local function exhausted(c, count)
  return c.max_deliver > 0 and count >= c.max_deliver
end

-- The delay in ms before the redelivery that follows delivery `count`. Nothing delays a death.
local function redelivery_delay(c, count)
  return not exhausted(c, count) and c.backoff[math.min(count, #c.backoff)] or 0
end

-- Members that are due get score 0, among which byte order, stream order, decides.
local function promote(key, upto)
  local due = redis.call('ZRANGEBYSCORE', key, '(0', upto, 'LIMIT', 0, ROWS_A_CALL)
  if #due == 0 then return end
  local args = {}
  for i, member in ipairs(due) do args[2 * i - 1], args[2 * i] = 0, member end
  redis.call('ZADD', key, unpack(args))
end

local function first_due(key, limit)
  return redis.call('ZRANGEBYSCORE', key, 0, 0, 'LIMIT', 0, limit)
end

-- Expired rows with a deadline of their own: those from `skip` on, at most `limit`. The PEL decides: a row that has left
-- it is forgotten, one that is not idle for so long gets its deadline anew.
local function expired_by_deadline(s, c, now, skip, limit, rows)
  if redis.call('EXISTS', c.deadlines) == 0 then return end
  promote(c.deadlines, now - c.ack_wait_ms)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', c.deadlines, 0, 0, 'LIMIT', skip, limit)) do
    local id = stream_id(member)
    local p = redis.call('XPENDING', s.log, c.name, id, id, 1)[1]
    if not p then redis.call('ZREM', c.deadlines, member)
    elseif p[3] < c.ack_wait_ms then redis.call('ZADD', c.deadlines, now - p[3], member)
    else rows[#rows + 1] = { id = id, member = member, count = p[4], idle = p[3] } end
  end
end

-- Expired rows that were delivered once, at most `limit`. Sets c.unfinished where it stopped short of an answer.
local function expired_in_order(s, c, now, limit, rows)
  if now < c.sweep_at then return end
  local wait, taken, position, looked = c.ack_wait_ms + redelivery_delay(c, 1), 0, c.sweep, 0
  local apart = redis.call('EXISTS', c.deadlines) == 1
  repeat
    local pending = redis.call('XPENDING', s.log, c.name, '(' .. position, '+', limit + 1)
    for _, p in ipairs(pending) do
      position = p[1]
      local member = sortable(position)
      local own = apart and redis.call('ZSCORE', c.deadlines, member)
      if not own and p[4] > 1 then
        own = redis.call('ZADD', c.deadlines, now - p[3], member)
        apart = true
      end
      if own then
        if taken == 0 then c.sweep = position end
      elseif p[3] >= wait and taken < limit then
        taken = taken + 1
        rows[#rows + 1] = { id = position, member = member, count = p[4], idle = p[3], in_order = true }
      else
        if taken == 0 then c.sweep_at = now + wait - p[3] end
        return
      end
    end
    looked = looked + #pending
    c.unfinished = #pending > limit and looked >= ROWS_A_CALL
  until #pending <= limit or taken >= limit or c.unfinished
  if taken == 0 and not c.unfinished then c.sweep_at = now + wait end
end

-- Rows whose ack wait is over, at most `limit`, in stream order. Changes nothing that a user could see.
local function expired(s, c, now, limit)
  local rows = {}
  expired_by_deadline(s, c, now, 0, limit, rows)
  local own = #rows
  expired_in_order(s, c, now, limit, rows)
  if own > 0 then table.sort(rows, function(a, b) return a.member < b.member end) end
  return rows
end

-- Keep a message as a dead letter; the caller takes it out of the PEL. A message that left the stream is not kept.
local function bury(s, c, row, reason, now)
  local entry = redis.call('XRANGE', s.log, row.id, row.id)[1]
  local _, given_back, note = note_of(c, row.id)
  s.strays = s.strays or s.kind == 'events' -- a plain client may have taken what is yet to be counted
  redis.call('HDEL', c.notes, row.id)
  if not entry then return end
  local head, body = content_of(s, entry)
  local collection_id = routing_fields(s, entry)
  local dead_id = redis.call('XADD', c.dead, '*', 'id', row.id, 'number', row.count, 'reason', reason,
    'last_nack_reason', row.reason or note, 'deliver_count', row.count - given_back, 'last_delivered_at', now - row.idle, 'dead_at', now,
    'collection_id', collection_id, 'head', head, 'body', body)
  redis.call('HSET', c.dead_ids, row.id, dead_id)
end

-- Of expired rows, bury those that have used up max_deliver; return the others.
local function bury_exhausted(s, c, rows, now)
  if c.max_deliver < 0 then return rows, 0 end
  local alive, dead_ids = {}, {}
  for _, row in ipairs(rows) do
    local _, given_back = note_of(c, row.id)
    if exhausted(c, row.count - given_back) then
      bury(s, c, row, 'max_deliver', now)
      if c.keyed then free_key(s, c.name, row.id) end
      dead_ids[#dead_ids + 1] = row.id
    else
      alive[#alive + 1] = row
    end
  end
  take_out(s, c, dead_ids)
  return alive, #dead_ids
end

-- The sweep's position is kept from call to call.
local function keep_sweep(c, before)
  if c.sweep ~= before.sweep or c.sweep_at ~= before.sweep_at then
    redis.call('HSET', c.key, 'sweep', c.sweep, 'sweep_at', string.format('%.0f', c.sweep_at))
  end
end

-- Move what is exhausted and expired to the dead letters, without delivering anything: a bounded number of rows is
-- looked at, those that will be delivered again are passed over.
local function sweep_dead(s, c, now)
  if c.max_deliver < 0 then return end
  free_first(s)
  local before, step, skip, looked = { sweep = c.sweep, sweep_at = c.sweep_at }, 100, 0, 0
  repeat
    local rows = {}
    expired_by_deadline(s, c, now, skip, step, rows)
    skip, looked = skip + #bury_exhausted(s, c, rows, now), looked + step
  until #rows == 0 or looked >= ROWS_A_CALL
  if exhausted(c, 1) then
    repeat
      local rows = {}
      expired_in_order(s, c, now, step, rows)
      bury_exhausted(s, c, rows, now)
      looked = looked + step
    until #rows == 0 or looked >= ROWS_A_CALL
  end
  keep_sweep(c, before)
end

-- ms until something may come due by time alone, -1 = nothing will.
local function due_in(s, c, now, out)
  local due = math.huge
  local retry = redis.call('ZRANGEBYSCORE', c.retry, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if retry[2] then due = tonumber(retry[2]) end
  local delayed = s.schedules and redis.call('ZRANGE', s.key .. ':delayed', 0, 0, 'WITHSCORES') or {}
  if delayed[2] then due = math.min(due, tonumber(delayed[2])) end
  if out > 0 then
    local deadline = redis.call('ZRANGEBYSCORE', c.deadlines, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if deadline[2] then due = math.min(due, deadline[2] + c.ack_wait_ms) end
    due = math.min(due, c.sweep_at > now and c.sweep_at or now + 50)
  end
  return due == math.huge and -1 or math.max(0, due - now)
end
