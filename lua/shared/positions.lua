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
