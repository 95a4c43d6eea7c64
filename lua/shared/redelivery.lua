-- redelivery: what may be delivered again, and when a message is dead.
--
-- Rows that were delivered once expire in stream order: their delivery times grow with their ids. So the sweep looks
-- only at the first of them, from where it stopped (`sweep`), and not before that one can have expired (`sweep_at`).
-- All other rows (delivered again, extended, claimed by a plain client) have their own deadline in a zset. Every row of
-- the PEL is after the sweep position or in that zset, so none is missed, and none is looked at too early.
--
-- What has come due in `deadlines` or `retry` gets score 0, where byte order is stream order. Exhausted messages never
-- get it, so a worker need not skip dead messages, and finding the dead need not skip living ones.

local ROWS_A_STEP = 500

-- `count` is the deliver count: deliveries that were given back are not in it.
local function exhausted(c, count)
  return c.max_deliver > 0 and count >= c.max_deliver
end

-- The delay in ms before the redelivery that follows delivery `count`. An exhausted message dies without delay.
local function redelivery_delay(c, count)
  return not exhausted(c, count) and c.backoff[math.min(count, #c.backoff)] or 0
end

-- For how many ms a row has been out. After a step back of Redis' clock the PEL knows nothing of the time before it; a
-- first delivery then counts as out since the step was noticed.
local function idle_of(s, c, p)
  if c.stepped_at and p[4] == 1 and p[3] < s.now - c.stepped_at and sortable(p[1]) <= sortable(c.stepped_id) then
    return s.now - c.stepped_at
  end
  return p[3]
end

-- When a row was delivered, when its ack wait ends (both by Redis' clock), and whether it is over. `read_at`: the clock
-- right after XPENDING, which reads it too.
local function times_out(s, c, p, count, read_at)
  local delivered_at = read_at - idle_of(s, c, p)
  local began = tonumber(redis.call('ZSCORE', c.deadlines, sortable(p[1])) or -1)
  local since = began > 0 and began - s.lead - redelivery_delay(c, count) or delivered_at
  if math.abs(since - delivered_at) <= 50 then delivered_at = since end -- a script may run for some ms before it claims
  if began == 0 then -- an extended delivery that has expired has a note of its own number
    local number, _, _, _, ended_at = note_of(c, p[1])
    return delivered_at, number == p[4] and ended_at or since + c.ack_wait_ms, true
  end
  return delivered_at, since + c.ack_wait_ms, since + c.ack_wait_ms <= s.wall
end

-- Stores a message as a dead letter; the caller removes it from the PEL. A message that left the stream is not stored.
-- `row`: id, number, worker, and, if the caller knows better than the note, given_back, reason and delivered_at (by
-- Redis' clock).
local function bury(s, c, row, reason)
  local entry = redis.call('XRANGE', s.log, row.id, row.id)[1]
  local _, given_back, note, delivered_at = note_of(c, row.id)
  s.strays = s.strays or s.kind == 'events' -- a plain client may have read an uncounted entry
  redis.call('HDEL', c.notes, row.id)
  if entry then
    local head, body = content_of(s, entry)
    local collection_id = routing_fields(s, entry)
    local dead_id = redis.call('XADD', c.dead, '*', 'head', head, 'body', body, 'id', row.id, 'number', row.number,
      'reason', reason, 'last_nack_reason', row.reason or note,
      'deliver_count', row.number - (row.given_back or given_back),
      'last_delivered_at', row.delivered_at or delivered_at or s.wall, 'dead_at', s.wall,
      'collection_id', collection_id, 'last_worker', row.worker or '')
    redis.call('HSET', c.dead_ids, row.id, dead_id)
  end
  if c.keyed then free_key(s, c.name, row.id) end
end

-- Gives a row its own deadline: when its ack wait began.
local function set_deadline(s, c, id, began, deliver_count)
  redis.call('ZADD', c.deadlines, string.format('%.0f', began), sortable(id))
  redis.call(deliver_count > 1 and 'SREM' or 'SADD', c.firsts, id)
end

-- Expired rows that were delivered once, at most `limit`, in stream order, each { id, number = 1 }; dying ones also
-- have `delivered_at` and `worker`. `rows.run`: no other rows of the PEL are between them. `rows.bound`: rows after
-- this member were not looked at.
local function expired_in_order(s, c, limit)
  local rows, gap = { run = true }, false
  if s.now < c.sweep_at then return rows end
  local wait, position, looked, ask = c.ack_wait_ms + redelivery_delay(c, 1), c.sweep, 0, limit + 1
  local any_deadlines, dying = redis.call('EXISTS', c.deadlines) == 1, exhausted(c, 1)
  repeat
    local pending, scores = redis.call('XPENDING', s.log, c.name, '(' .. position, '+', ask), {}
    if any_deadlines and #pending > 0 then
      for i, p in ipairs(pending) do scores[i] = sortable(p[1]) end
      scores = redis.call('ZMSCORE', c.deadlines, unpack(scores))
    end
    for i, p in ipairs(pending) do
      position = p[1]
      local own = scores[i]
      if not own and p[4] > 1 then -- a plain client has claimed it
        set_deadline(s, c, position, s.now - p[3], p[4])
        own, any_deadlines = true, true
      end
      if own then
        if #rows == 0 then c.sweep = position end
        gap = #rows > 0
      else
        local idle = c.stepped_at and idle_of(s, c, p) or p[3]
        if idle < wait or #rows == limit then
          if #rows == 0 then c.sweep_at = s.now + wait - idle end
          return rows
        end
        rows.run = rows.run and not gap
        rows[#rows + 1] = {
          id = position, number = 1, delivered_at = dying and s.wall - idle or nil, worker = dying and worker_of(p[2]),
        }
      end
    end
    if #pending < ask then
      if #rows == 0 then c.sweep_at = s.now + wait end
      return rows
    end
    looked, ask = looked + #pending, math.min(4 * ask, 1000)
  until looked >= 4 * ROWS_A_STEP
  rows.bound = sortable(position)
  return rows
end

-- What may be delivered again now, in stream order, at most `limit`: expired rows, and at most `places` due retries.
-- Changes nothing that a user can see.
local function redeliverable(s, c, limit, places)
  local rows = expired_in_order(s, c, limit)
  if redis.call('EXISTS', c.deadlines, c.retry) == 0 then return rows end
  local own = #rows
  local members = redis.call('ZRANGEBYSCORE', c.deadlines, 0, 0, 'LIMIT', 0, limit)
  local ids = {}
  for i, member in ipairs(members) do ids[i] = stream_id(member) end
  local pending = rows_of(s, c, ids)
  for i, id in ipairs(ids) do
    if pending[id] then rows[#rows + 1] = { id = id, member = members[i], number = pending[id][4], due = true }
    else forget_deadline(c, id) end
  end
  if places > 0 then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', c.retry, 0, 0, 'LIMIT', 0, math.min(limit, places))) do
      rows[#rows + 1] = { id = stream_id(member), member = member, retry = true }
    end
  end
  if own < #rows then
    for i = 1, own do rows[i].member = sortable(rows[i].id) end
    table.sort(rows, function(a, b) return a.member < b.member end)
    for i = #rows, 1, -1 do
      if i > limit or rows.bound and rows[i].member > rows.bound then rows[i] = nil end
    end
  end
  return rows
end

-- Claimed entries by id, without those of a record stream that are no records: a plain client has added and read them.
local function records_of(s, c, claimed)
  for id, entry in pairs(s.kind == 'records' and claimed or {}) do
    if is_plain(s, entry) then
      redis.call('XACK', s.log, c.name, id)
      claimed[id] = nil
    end
  end
  return claimed
end

-- Sorts the last values of a reply, after `from`, by stream order: `width` values per message, its id first.
local function sort_rows(reply, from, width)
  local rows = {}
  for at = from + 1, #reply, width do
    rows[#rows + 1] = { sortable(reply[at]), unpack(reply, at, at + width - 1) }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  for i, row in ipairs(rows) do
    for k = 1, width do reply[from + width * (i - 1) + k] = row[k + 1] end
  end
end

-- ms until something may come due by time alone, -1 = nothing will.
local function due_in(s, c, out)
  local due = math.huge
  local retry = redis.call('ZRANGEBYSCORE', c.retry, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if retry[2] then due = tonumber(retry[2]) end
  local delayed = s.schedules and redis.call('ZRANGE', s.key .. KEY.delayed, 0, 0, 'WITHSCORES') or {}
  if delayed[2] then due = math.min(due, delayed[2] + s.lead) end
  if out > 0 then
    local deadline = redis.call('ZRANGEBYSCORE', c.deadlines, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if deadline[2] then due = math.min(due, deadline[2] + c.ack_wait_ms) end
    due = math.min(due, c.sweep_at > s.now and c.sweep_at or s.now + 50)
  end
  return due == math.huge and -1 or math.max(0, due - s.now)
end
