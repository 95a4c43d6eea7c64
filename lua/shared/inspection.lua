-- inspection: what an operator asks about a consumer: what is blocked, what is oldest, and why it is idle (C56).

local LOOK, WAITING, ROWS, STEP_MS = 500, 1000, 20000, 5

local function num_parked(s, c)
  return c.keyed and redis.call('HLEN', s.key .. KEY.parked .. c.name) or 0
end

-- How many of the messages that the consumer has not reached wait for their ordering key: it looks at the first LOOK
-- after an id (nil = from the cursor, '' = none). Returns also the id to continue after, '' = that was all.
local function blocked_ahead(s, c, after, new)
  if not c.keyed or after == '' or new == 0 or redis.call('EXISTS', s.key .. KEY.busy .. c.name) == 0 then
    return 0, ''
  end
  local count, looked = 0, 0
  after = after or cursor_of(s, c)
  repeat
    local wanted = fitting(s, BYTES_A_CALL, 100)
    local entries = entries_ahead(s, c, after, wanted)
    for _, entry in ipairs(entries) do
      if is_blocked(s, c, key_of(s, entry)) and not (s.schedules and has_lapsed(s, entry[1])) then count = count + 1 end
      after = entry[1]
    end
    if #entries < wanted then return count, '' end
    looked = looked + math.max(#entries, 5)
  until looked >= LOOK or wanted < 5
  return count, after
end

local function older(a, b)
  return a and b and math.min(a, b) or a or b
end

-- When the message of a zset's member was appended.
local function time_of(member)
  return member and tonumber(string.match(stream_id(member), '^%d+'))
end

-- When the oldest message that waits for a retry or its ordering key was appended: by the first row of `retrying` with
-- the consumer's name, among WAITING rows after a member (nil = from the first, '' = none). Returns also the member to
-- continue after, '' = at the end.
local function oldest_set_back(s, c, after)
  if after == '' or num_set_back(s, c) == 0 then return nil, '' end
  local from = after and '(' .. after .. ';' or '-'
  local rows = redis.call('ZRANGEBYLEX', s.key .. KEY.retrying, from, '+', 'LIMIT', 0, WAITING)
  for _, row in ipairs(rows) do
    local member, name = string.match(row, '^([^:]*):(.*)$')
    if name == c.name and (redis.call('ZSCORE', c.retry, member)
      or redis.call('HEXISTS', s.key .. KEY.parked .. name, stream_id(member)) == 1) then return time_of(member), '' end
  end
  return nil, #rows == WAITING and string.match(rows[#rows], '^[^:]*') or ''
end

-- When the first message that the consumer has not reached was appended.
local function oldest_new(s, c, new)
  if new == 0 then return nil end
  local after, looks = cursor_of(s, c), 0
  if c.index then return time_of(redis.call('ZRANGEBYLEX', c.index, '(' .. sortable(after), '+', 'LIMIT', 0, 1)[1]) end
  repeat -- events whose time to live is over do not wait
    local entry = entries_after(s.log, after, 1)[1]
    after, looks = entry and entry[1] or after, looks + 1
  until not entry or looks == LOOK or not (any_lapsed(s) and has_lapsed(s, after))
  return time_of(sortable(after))
end

-- When the longest delivery out was made, to 5 ms, -1 = none is out. XPENDING finds rows with a longer idle time than
-- the last one found, and each search continues where the last one ended. If very many are out, it looks only at the
-- rows that their order makes likely.
local function oldest_out(s, c, out)
  if out == 0 then return -1 end
  local at = math.huge
  local function note_row(p) at = math.min(at, now_ms() - idle_of(s, c, p)) end -- XPENDING has just read the clock too
  if out <= ROWS then
    local p, looks = { '-', '', -STEP_MS }, 0
    repeat
      p, looks = redis.call('XPENDING', s.log, c.name, 'IDLE', p[3] + STEP_MS, p[1], '+', 1)[1], looks + 1
      if p then note_row(p) end
    until not p or looks == LOOK
  else
    local ids = {}
    for _, member in ipairs(redis.call('ZRANGE', c.deadlines, 0, 99)) do ids[#ids + 1] = stream_id(member) end
    for _, p in pairs(rows_of(s, c, ids)) do note_row(p) end
    for _, p in ipairs(redis.call('XPENDING', s.log, c.name, '(' .. c.sweep, '+', 100)) do note_row(p) end
  end
  return at
end

-- Why `next` would give nothing, '' = it gives something, `new` = it does if the ordering key of a new message is free.
local function idle_because(s, c, out, new)
  local places = c.max_ack_pending - out
  if c.paused then return 'paused' end
  for _, row in ipairs(redeliverable(s, c, 100, math.max(0, places))) do
    if #redis.call('XRANGE', s.log, row.id, row.id) > 0 then return '' end
  end
  if new > 0 and places > 0 then return c.keyed and 'new' or '' end
  local cursor = cursor_of(s, c)
  if sortable(cursor) > sortable(s.seen) and tonumber(string.match(cursor, '^%d+')) >= s.wall then return 'start' end
  if places <= 0 and num_pending(s, c) > 0 then return 'max_ack_pending' end
  if num_parked(s, c) > 0 then return 'keys' end
  return redis.call('EXISTS', c.retry) == 1 and 'retries' or 'empty'
end
