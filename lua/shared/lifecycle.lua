-- lifecycle: how a consumer begins and ends.

-- Where the group starts: `all`, `new`, `last`, `at:ms` (then and later), `ago:ms` (not longer ago than that).
-- `last` over an index leaves c.start, for only a complete index knows its last one.
local function start_id(s, start, indexed, now)
  if start == 'all' then return '0-0' end
  if start == 'new' or (start == 'last' and indexed) then return '$' end
  if start == 'last' then
    local last = redis.call('XREVRANGE', s.log, '+', '-', 'COUNT', 1)[1]
    return last and id_before(last[1]) or '0-0'
  end
  local how, ms = string.match(start, '^(%a+):(%d+)$')
  ms = how == 'ago' and math.max(0, now - tonumber(ms)) or tonumber(ms)
  return id_before(string.format('%.0f-0', ms))
end

-- The state of a consumer that has delivered nothing yet; its position is told by the first sync. Tokens of an earlier
-- epoch are stale.
local function begin(s, key, name, start, indexed)
  local time, stamp, epoch = redis.call('TIME'), unpack(redis.call('HMGET', key, 'stamp', 'epoch'))
  local last = tonumber(stamp or epoch or 0)
  redis.call('HDEL', key, 'stamp')
  redis.call('HSET', key, 'epoch', string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2])),
    'cursor', group_position(s, name), 'position', 0, 'sweep', '0-0', 'sweep_at', 0, 'synced_at', 0, 'verified_at', 0)
  if start == 'last' and indexed then redis.call('HSET', key, 'start', 'last') end
end

-- Drop all delivery state: what is out, waits for a retry, or is dead.
local function forget_deliveries(s, name)
  for _, set in ipairs({ ':retry:', ':parked:' }) do
    for _, member in ipairs(redis.call('ZRANGE', s.key .. set .. name, 0, -1)) do
      redis.call('ZREM', s.key .. ':retrying', member .. ':' .. name)
    end
  end
  redis.pcall('XGROUP', 'DESTROY', s.log, name)
  for _, part in ipairs({ ':retry:', ':deadlines:', ':leases:', ':notes:', ':dead:', ':dead-ids:', ':busy:', ':held:', ':parked:', ':queue:' }) do
    redis.call('UNLINK', s.key .. part .. name)
  end
end

-- Whether a consumer's next messages may be read by their keys alone.
local function needs_keys(s, key)
  local filter, ordering = unpack(redis.call('HMGET', key, 'filter', 'ordering'))
  return s.kind == 'events' and filter == '' and ordering == 'key'
end

-- A waiting call learns of the end by the wake.
local function remove_consumer(s, name)
  local key = s.key .. ':consumer:' .. name
  local filter = redis.call('HGET', key, 'filter')
  if not filter then return false end
  if needs_keys(s, key) then use_keys(s, -1) end
  forget_deliveries(s, name)
  redis.call('UNLINK', key)
  redis.call('SREM', s.key .. ':consumers', name)
  if filter ~= '' then release_filter(s, filter) end
  wake(s, name)
  return true
end
