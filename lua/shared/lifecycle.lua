-- lifecycle: how a consumer begins and ends.

-- Where the group starts: `all`, `new`, `last`, `at:ms` (then and later), `ago:ms` (not longer ago than that). For
-- `last` with an index, place_at_last finds the start once the index is complete.
local function start_id(s, start, indexed)
  if start == 'all' then return '0-0' end
  if start == 'new' or start == 'last' then
    local last = redis.call('XREVRANGE', s.log, '+', '-', 'COUNT', 1)[1]
    if start == 'new' or indexed then return last and last[1] or s.seen end
    return last and id_before(last[1]) or '0-0'
  end
  local how, ms = string.match(start, '^(%a+):(%d+)$')
  ms = how == 'ago' and math.max(0, s.wall - tonumber(ms)) or tonumber(ms)
  return id_before(string.format('%.0f-0', ms))
end

-- Names this life of the consumer in its ack tokens: 16 hex digits. A caller should give them, since Lua has no random
-- ones. Otherwise: the time in microseconds, and a checksum of the names and the previous epoch.
local function new_epoch(s, name, given)
  if given and string.find(given, '^%x+$') and #given == 16 then return given end
  local time, sum = redis.call('TIME'), 0
  for byte in string.gmatch(s.key .. name .. (redis.call('HGET', s.key .. KEY.consumer .. name, 'epoch') or ''), '.') do
    sum = (sum * 257 + string.byte(byte)) % 16777213
  end
  return string.format('%010x%06x', (time[1] * 1000000 + time[2]) % 1099511627776, sum)
end

-- Creates a consumer's group, and its state before its first delivery. False: another client has created such a group.
local function begin(s, key, name, start, indexed, epoch)
  local c = { name = name, key = key, cursor = start_id(s, start, indexed) }
  if redis.pcall('XGROUP', 'CREATE', s.log, name, c.cursor, 'MKSTREAM').err then return false end
  redis.call('HDEL', key, 'full', 'start', 'recheck')
  redis.call('HSET', key, 'epoch', new_epoch(s, name, epoch), 'cursor', c.cursor, 'began', c.cursor, 'position', 0,
    'sweep', '0-0', 'sweep_at', string.format('%.0f', s.now + redis.call('HGET', key, 'ack_wait_ms')),
    'synced_at', s.now, 'verified_at', 0, 'stepped', s.steps .. ' 0 0-0')
  if start == 'last' and indexed then redis.call('HSET', key, 'start', 'last') end
  if not indexed then place(s, c) end
  return true
end

-- The Redis keys of a consumer's delivery state.
local function delivery_keys(s, name)
  local found = {}
  for _, part in ipairs({ KEY.retry, KEY.fresh, KEY.deadlines, KEY.firsts, KEY.notes, KEY.dead, KEY.dead_ids, KEY.busy,
    KEY.held, KEY.parked, KEY.queue }) do
    found[#found + 1] = s.key .. part .. name
  end
  return found
end

-- Drops all delivery state: what is out, waiting for a retry or dead. Large state leaves rows for later sweeps.
local function forget_deliveries(s, name)
  leave_rows(s, name)
  redis.pcall('XGROUP', 'DESTROY', s.log, name)
  redis.call('UNLINK', unpack(delivery_keys(s, name)))
  sweep(s) -- last: rows whose keys still exist would count as a new life's
end

-- Removes a consumer; the wake makes waiting calls notice.
local function remove_consumer(s, name)
  local key = s.key .. KEY.consumer .. name
  local filter = redis.call('HGET', key, 'filter')
  if not filter then return false end
  forget_deliveries(s, name)
  redis.call('UNLINK', key)
  redis.call('SREM', s.key .. KEY.consumers, name)
  if filter ~= '' then release_filter(s, filter) end
  wake(s, name)
  return true
end
