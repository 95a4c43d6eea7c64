-- positions: where a consumer stands, and what must be done before its messages are counted or delivered.

-- Build the index of a new filter over what was there before it. True when it is complete.
local function build_index(s, id)
  local f = redis.call('HMGET', s.key .. ':filters', id .. ':at', id .. ':until', id)
  if not f[1] then return true end
  local filter, index, last = cjson.decode(f[3]), s.key .. ':index:' .. id, f[1]
  local entries = redis.call('XRANGE', s.log, '(' .. f[1], f[2], 'COUNT', STEP)
  for _, entry in ipairs(entries) do
    last = entry[1]
    if filter_matches(filter, routing_fields(s, entry)) and not has_lapsed(s, last) then redis.call('ZADD', index, 0, sortable(last)) end
  end
  if #entries < STEP then
    redis.call('HDEL', s.key .. ':filters', id .. ':at', id .. ':until')
    return true
  end
  redis.call('HSET', s.key .. ':filters', id .. ':at', last)
  return false
end

-- `deliver_policy: last` over an index: only a complete one knows which message is the last.
local function place_at_last(s, c)
  local last = redis.call('ZREVRANGEBYLEX', c.index, '[' .. sortable(c.cursor), '-', 'LIMIT', 0, 1)[1]
  if last then
    c.cursor = id_before(stream_id(last))
    redis.call('XGROUP', 'SETID', s.log, c.name, c.cursor)
  end
  redis.call('HSET', c.key, 'cursor', c.cursor)
  redis.call('HDEL', c.key, 'start')
  c.start = nil
end

-- Where the group stands, by Redis. Grows with the number of groups, so it is asked now and then.
local function group_position(s, name)
  if redis.call('EXISTS', s.log) == 0 then return nil end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', s.log)) do
    if group[2] == name then
      for i = 1, #group, 2 do
        if group[i] == 'last-delivered-id' then return group[i + 1] end
      end
    end
  end
end

-- The id of the last entry behind an unfiltered consumer.
local function cursor_of(s, c)
  if c.cursor == '' then
    c.cursor = group_position(s, c.name) or '0-0'
    redis.call('HSET', c.key, 'cursor', c.cursor)
  end
  return c.cursor
end

-- Where an unfiltered consumer of events stands, as a number. Where the log has not reached its start it has none yet.
local function place(s, c)
  local ahead = sortable(c.cursor) > sortable(s.seen)
  c.start = ahead and 'ahead' or nil
  if ahead then
    redis.call('HSET', c.key, 'start', 'ahead')
    return
  end
  c.position = number_before(s, entries_behind(s.log, c.cursor, 1)[1])
  redis.call('HSET', c.key, 'position', c.position)
  redis.call('HDEL', c.key, 'start')
end

local SYNC_MS = 1000

-- Whether a plain client has read in the group since the last look. Unlike the group's position this costs the same however
-- many groups there are.
local function plain_reads(s, c)
  for _, reader in ipairs(redis.pcall('XINFO', 'CONSUMERS', s.log, c.name)) do
    if reader[2] ~= 'http' and reader[6] <= s.now - c.synced_at + 1 then return true end
  end
end

-- Whether it is time to look. Plain readers are not for a consumer with order by key.
local function sync_due(s, c)
  return not c.filtered and not c.keyed and s.now - c.synced_at >= SYNC_MS
end

-- Plain XREADGROUPs move the group and leave no word: learn its position from Redis now and then.
local function sync_cursor(s, c)
  if not sync_due(s, c) then return end
  if plain_reads(s, c) then
    c.cursor = group_position(s, c.name) or c.cursor
    if not c.index then place(s, c) end
  end
  c.synced_at = s.now
  redis.call('HSET', c.key, 'cursor', c.cursor, 'synced_at', c.synced_at)
end

-- After a step of Redis' clock the PEL misstates how long rows are out: note what had been delivered by then (idle_of).
local function note_step(s, c)
  if c.steps == s.steps then return end
  c.steps, c.stepped_at, c.stepped_id = s.steps, s.now, group_position(s, c.name) or '0-0'
  redis.call('HSET', c.key, 'stepped', string.format('%d %.0f %s', c.steps, c.stepped_at, c.stepped_id))
end

-- What must be done before a consumer's messages are counted or delivered. False: call again, a step was made.
local function ready(s, c)
  if not up_to_date(s) then return false end
  if c.filtered then
    if not build_index(s, c.filter) then return false end
    if s.kind == 'events' then redis.call('ZREMRANGEBYLEX', c.index, '-', member_bound(first_entry(s))) end
  end
  if c.start == 'last' then place_at_last(s, c) elseif c.start then place(s, c) end
  sync_cursor(s, c)
  note_step(s, c)
  return true
end
