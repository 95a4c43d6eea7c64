-- due: whether there is something to do. `next` does it; `fast_read` checks that it need not be done.

-- The next id.
local function id_after(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return string.format('%s-%.0f', ms, seq + 1)
end

local function first_entry(s)
  return redis.call('XRANGE', s.log, '-', '+', 'COUNT', 1)[1]
end

-- The id before which events are too old, nil = none is. Ids do not follow Redis' clock back. If the last id is ahead
-- of the clock, the events that are there when this is noticed age from then on (`ahead`: "when last-id").
local function too_old(s)
  if not s.max_age_ms then return nil end
  local bound = string.format('%.0f', math.max(0, s.wall - s.max_age_ms))
  if tonumber(string.match(s.seen, '^%d+')) <= s.wall + KEEP_MS then return bound end
  local since, id = string.match(redis.call('HGET', s.key, 'ahead') or '', '^(%d+) (%S+)$')
  local over = since and s.now - since >= s.max_age_ms
  if over or not since then redis.call('HSET', s.key, 'ahead', string.format('%.0f %s', s.now, s.seen)) end
  return over and id_after(id) or bound
end

-- Whether the first event of an event stream exceeds its limits.
local function trim_due(s)
  if s.max_messages and redis.call('XLEN', s.log) > s.max_messages then return true end
  local bound = too_old(s)
  local first = bound and first_entry(s)
  return first and sortable(first[1]) < sortable(bound .. (string.find(bound, '-', 1, true) and '' or '-0'))
end

-- Whether delayed events have come due, or the time to live of events is or was over.
local function schedule_due(s)
  return redis.call('EXISTS', s.key .. KEY.lapsed) == 1 or redis.call('ZCOUNT', s.key .. KEY.ttl, '-inf', s.now) > 0
    or redis.call('ZCOUNT', s.key .. KEY.delayed, '-inf', s.wall) > 0
end

-- Whether a stream needs upkeep.
local function upkeep_due(s)
  return s.dropping or s.kind == 'events'
    and (#entries_after(s.log, s.seen, 1) > 0 or trim_due(s) or s.schedules and schedule_due(s))
end

-- Where the group is, as Redis says. Costs grow with the number of groups, so it is not asked at every call.
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

-- The id of the last entry that an unfiltered consumer has passed.
local function cursor_of(s, c)
  if c.cursor == '' then
    c.cursor = group_position(s, c.name) or '0-0'
    redis.call('HSET', c.key, 'cursor', c.cursor)
  end
  return c.cursor
end

local SYNC_MS = 1000

-- Whether a plain client has read in the group since the last look. Unlike the group's position, this costs the same
-- however many groups there are.
local function plain_reads(s, c)
  for _, reader in ipairs(redis.pcall('XINFO', 'CONSUMERS', s.log, c.name)) do
    if not is_ours(reader[2]) and reader[6] <= s.now - c.synced_at + 1 then return true end
  end
end

-- Whether it is time to look. Consumers with ordering by key have no plain readers.
local function sync_due(s, c)
  return not c.filtered and not c.keyed and s.now - c.synced_at >= SYNC_MS
end

-- Whether `expire` has something to do, or something has come due.
local function redelivery_due(s, c)
  return c.recheck or redis.call('EXISTS', c.deadlines, c.retry) > 0
    and (redis.call('ZCOUNT', c.retry, '-inf', s.now) > 0
    or redis.call('ZCOUNT', c.deadlines, '-inf', s.now - c.ack_wait_ms) > 0)
end
