-- upkeep: bounded steps that bring a stream and its indexes up to date before anything is counted or delivered.

local STEP = 2000

-- Forget messages that wait for a retry or for their key, by a range of ids: they have left the stream.
local function drop_waiting(s, from, to)
  for _, row in ipairs(redis.call('ZRANGEBYLEX', s.key .. ':retrying', from, to)) do
    local member, name = string.match(row, '^([^:]*):(.*)$')
    local id = stream_id(member)
    redis.call('ZREM', s.key .. ':retrying', row)
    redis.call('HDEL', s.key .. ':notes:' .. name, id)
    redis.call('ZREM', s.key .. ':parked:' .. name, member)
    if redis.call('ZREM', s.key .. ':retry:' .. name, member) == 1 then free_key(s, name, id) end
  end
end

local function first_entry(s)
  return redis.call('XRANGE', s.log, '-', '+', 'COUNT', 1)[1]
end

local function member_bound(first)
  return first and '(' .. sortable(first[1]) or '+'
end

-- The number of the last counted entry before this one (nil = before the end of the log).
local function number_before(s, entry)
  local idx = entry and idx_of(s, entry) or 0
  return idx > 0 and idx - 1 or s.idx
end

-- Drop what the limits of an event stream no longer allow, and its places in the given indexes.
local function trim(s, now, indexes)
  local dropped = 0
  if s.max_messages then dropped = redis.call('XTRIM', s.log, 'MAXLEN', '=', s.max_messages) end
  if s.max_age_ms then
    dropped = dropped + redis.call('XTRIM', s.log, 'MINID', '=', string.format('%.0f', math.max(0, now - s.max_age_ms)))
  end
  if dropped > 0 then
    local first = first_entry(s)
    local bound = member_bound(first)
    s.first = number_before(s, first) + 1
    redis.call('HSET', s.key, 'first', s.first)
    drop_waiting(s, '-', bound)
    redis.call('ZREMRANGEBYLEX', s.key .. ':plain', '-', bound)
    redis.call('ZREMRANGEBYLEX', s.key .. ':lapsed', '-', bound)
    for index in pairs(indexes or {}) do redis.call('ZREMRANGEBYLEX', index, '-', bound) end
  end
end

-- Take note of entries that plain clients have added since: they get their idx and their places in the indexes.
-- True when all are seen.
local function catch_up(s)
  local entries = entries_behind(s.log, s.seen, STEP)
  if #entries == 0 then return true end
  local memo, touched = {}, {}
  for _, entry in ipairs(entries) do
    local member = sortable(entry[1])
    s.idx, s.seen = s.idx + 1, entry[1]
    redis.call('ZADD', s.key .. ':plain', s.idx, member)
    for _, index in ipairs(indexes_of(s, memo, routing_fields(entry))) do redis.call('ZADD', index, 0, member) end
  end
  redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen)
  return #entries < STEP
end

-- Build the index of a new filter over what was there before it. True when it is complete.
local function build_index(s, id)
  local f = redis.call('HMGET', s.key .. ':filters', id .. ':at', id .. ':until', id)
  if not f[1] then return true end
  local filter, index, last = cjson.decode(f[3]), s.key .. ':index:' .. id, f[1]
  local entries = redis.call('XRANGE', s.log, '(' .. f[1], f[2], 'COUNT', STEP)
  for _, entry in ipairs(entries) do
    last = entry[1]
    if filter_matches(filter, routing_fields(entry)) and not has_lapsed(s, last) then redis.call('ZADD', index, 0, sortable(last)) end
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
  if c.cursor == '' then c.cursor = group_position(s, c.name) or '0-0' end
  return c.cursor
end

local SYNC_MS = 1000

-- Plain XREADGROUPs move the group without telling: learn its position from Redis now and then. They are not for a consumer
-- with order by key, which is asked for once.
local function sync_cursor(s, c, now)
  if c.filtered or (c.keyed and c.synced_at > 0) or now - c.synced_at < SYNC_MS then return end
  c.cursor = group_position(s, c.name) or c.cursor
  c.synced_at = now
  if not c.index then
    c.position = number_before(s, entries_behind(s.log, c.cursor, 1)[1])
  end
  redis.call('HSET', c.key, 'cursor', c.cursor, 'position', c.position, 'synced_at', now)
end

-- What a stream must have done before it is read or counted. False: call again, a step was made.
local function up_to_date(s, now)
  trim(s, now)
  return s.kind == 'records' or (catch_up(s) and (not s.schedules or (release_delayed(s, now) and lapse(s, now))))
end

-- Likewise before a consumer's messages are counted or delivered.
local function ready(s, c, now)
  if not up_to_date(s, now) then return false end
  if c.filtered then
    if not build_index(s, c.filter) then return false end
    if s.kind == 'events' then redis.call('ZREMRANGEBYLEX', c.index, '-', member_bound(first_entry(s))) end
  end
  if c.start then place_at_last(s, c) end
  sync_cursor(s, c, now)
  return true
end
