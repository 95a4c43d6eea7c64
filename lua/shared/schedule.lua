-- schedule: events that may not be delivered yet, and events that may not be delivered any more.
--
-- A delayed event is outside the log until its time, so no reader of any kind sees it. An event whose time to live is
-- over stays in the log for consumers that already have it; it leaves the indexes, and first deliveries skip it.

local RELEASED_A_CALL = 200

-- Streams that never had such an event (no s.schedules) skip the search for them.
local function note_schedules(s)
  if s.schedules then return end
  s.schedules = '1'
  redis.call('HSET', s.key, 'schedules', 1)
end

-- Adds an event to the log. Its id has the time at which it came due (`due`, nil = now), if that is still possible.
local function add(s, due, head, body)
  if due then
    local ms = string.format('%.0f-*', math.max(due, string.match(s.seen, '^%d+')))
    local id = redis.pcall('XADD', s.log, ms, 'head', head, 'body', body)
    if type(id) == 'string' then return id end
  end
  return redis.call('XADD', s.log, '*', 'head', head, 'body', body)
end

-- Appends an event that was due at `due` (nil = now); its time to live begins then. While entries of plain clients are
-- uncounted (not s.counted), the event follows them without an idx, which catch_up assigns to all of them.
local function append_event(s, due, collection_id, resource_id, lacks, body, ttl_ms)
  local id
  if s.counted then
    s.idx = s.idx + 1
    id = add(s, due, s.idx .. ' ' .. lacks, body)
    s.seen = id
    index_entry(s, id, collection_id, resource_id)
  else
    id = add(s, nil, ' ' .. lacks, body)
  end
  note_size(s, #body)
  if ttl_ms ~= '' then
    note_schedules(s)
    local ends_at = string.format('%.0f', s.now - (due and s.wall - due or 0) + tonumber(ttl_ms))
    redis.call('ZADD', s.key .. KEY.ttl, ends_at, sortable(id))
  end
  return id
end

local function delay_event(s, due, ...)
  local ticket = string.format('%015.0f', redis.call('HINCRBY', s.key, 'delayed', 1))
  note_schedules(s)
  redis.call('ZADD', s.key .. KEY.delayed, due, ticket)
  local event = { ... }
  redis.call('HSET', s.key .. KEY.delayed_events, ticket, cjson.encode(event))
  redis.call('HSET', s.key .. KEY.delayed_ids, id_in(event[4]), ticket)
  wake(s, '')
end

-- Removes a delayed event from the schedule.
local function drop_delayed(s, ticket, event)
  redis.call('ZREM', s.key .. KEY.delayed, ticket)
  redis.call('HDEL', s.key .. KEY.delayed_events, ticket)
  local id = id_in(event[4])
  if redis.call('HGET', s.key .. KEY.delayed_ids, id) == ticket then
    redis.call('HDEL', s.key .. KEY.delayed_ids, id)
  end
end

-- Appends the delayed events that are due, in order of their times. False: there are more. Their time to live begins
-- when they were due, however late this runs.
local function release_delayed(s)
  local due = redis.call('ZRANGEBYSCORE', s.key .. KEY.delayed, '-inf', s.wall, 'WITHSCORES',
    'LIMIT', 0, RELEASED_A_CALL)
  if #due == 0 then return true end
  local at = 1
  s.counted = true
  repeat
    local ticket = due[at]
    local event = redis.call('HGET', s.key .. KEY.delayed_events, ticket)
    local parts = cjson.decode(event)
    append_event(s, tonumber(due[at + 1]), unpack(parts))
    drop_delayed(s, ticket, parts)
    at = at + 2
  until not spend(s, 5 + #event / 500) or at > #due
  redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen)
  return at > #due and #due < 2 * RELEASED_A_CALL
end

-- Hides events whose time to live is over from first deliveries. False: there are more.
local function lapse(s)
  local over = redis.call('ZRANGEBYSCORE', s.key .. KEY.ttl, '-inf', s.now, 'LIMIT', 0, RELEASED_A_CALL)
  for i, member in ipairs(over) do
    local id = stream_id(member)
    redis.call('ZREM', s.key .. KEY.ttl, member)
    local entry = redis.call('XRANGE', s.log, id, id)[1]
    if entry then
      redis.call('ZADD', s.key .. KEY.lapsed, 0, member)
      unindex_entry(s, id, place_of(routing_fields(s, entry)))
      local undelivered = {}
      for _, row in ipairs(rows_of_message(s, member, -1)) do
        -- Without a note it was never delivered: it waits for its ordering key, or got the key when it became free.
        if redis.call('HEXISTS', s.key .. KEY.notes .. string.match(row, ':(.*)$'), id) == 0 then
          undelivered[#undelivered + 1] = row
        end
      end
      forget_waiting(s, undelivered)
      spend(s, #undelivered)
    end
    if not spend(s, 4 + (entry and #entry[2][4] / 1000 or 0)) and i < #over then return false end
  end
  return #over < RELEASED_A_CALL
end

