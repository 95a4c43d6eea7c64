-- ordering: at most one message per ordering key is out or waiting for a retry; later ones are parked.
-- See shared/holding.lua.

-- Parks messages, given as pairs of ordering key and id. `fresh`: they were never delivered.
local function park(s, name, messages, fresh)
  local parked, queue, retrying, ids = {}, {}, {}, {}
  for i = 1, #messages, 2 do
    local key, id = messages[i], messages[i + 1]
    local member = sortable(id)
    parked[i], parked[i + 1], ids[#ids + 1] = id, key, id
    queue[i], queue[i + 1] = 0, queue_row(key, member)
    retrying[i], retrying[i + 1] = 0, member .. ':' .. name
  end
  redis.call('HSET', s.key .. KEY.parked .. name, unpack(parked))
  if fresh then redis.call('SADD', s.key .. KEY.fresh .. name, unpack(ids)) end
  redis.call('ZADD', s.key .. KEY.queue .. name, unpack(queue))
  redis.call('ZADD', s.key .. KEY.retrying, unpack(retrying))
end

-- A message that was put back into the retry set takes its ordering key, or is parked if another message holds it.
local function wait_for_key(s, c, id)
  local key = key_of(s, redis.call('XRANGE', s.log, id, id)[1])
  if key == '' then return end
  if redis.call('SISMEMBER', s.key .. KEY.busy .. c.name, key) == 1 then
    redis.call('ZREM', c.retry, sortable(id))
    park(s, c.name, { key, id })
  else
    hold_key(s, c.name, key, id)
  end
end

-- A plain client's XACK frees no ordering key: check some messages whether they still hold theirs. If more messages
-- hold a key than are out or wait for a redelivery, some no longer do; otherwise the check runs now and then.
local VERIFY_MS = 1000
local function verify_keys(s, c, out)
  local held = s.key .. KEY.held .. c.name
  local proof = redis.call('HLEN', held) > out + redis.call('ZCARD', c.retry)
  if not proof and s.now - c.verified_at < VERIFY_MS then return end
  local found = redis.call('HSCAN', held, c.verify_from, 'COUNT', proof and 500 or 100)
  for i = 1, #found[2], 2 do
    local id = found[2][i]
    if #redis.call('XPENDING', s.log, c.name, id, id, 1) == 0 and not redis.call('ZSCORE', c.retry, sortable(id)) then
      free_key(s, c.name, id)
    end
  end
  redis.call('HSET', c.key, 'verify_from', found[1], 'verified_at', s.now)
end

-- Messages claimed for their first delivery: each takes its ordering key if that is free, and is parked otherwise.
-- Returns the set of positions of the parked ones.
local function take_keys(s, c, entries)
  local parked, waiting, keys, taken, now_busy, now_held, n = {}, {}, {}, {}, {}, {}, 0
  for i, entry in ipairs(entries) do keys[i] = key_of(s, entry) end
  local busy = #keys > 0 and redis.call('SMISMEMBER', s.key .. KEY.busy .. c.name, unpack(keys)) or {}
  for i, key in ipairs(keys) do
    local id = entries[i][1]
    if key ~= '' and (busy[i] == 1 or taken[key]) then
      parked[i] = true
      waiting[#waiting + 1], waiting[#waiting + 2] = key, id
    elseif key ~= '' then
      n, taken[key] = n + 1, true
      now_busy[n], now_held[2 * n - 1], now_held[2 * n] = key, id, key
    end
  end
  if #waiting > 0 then park(s, c.name, waiting, true) end
  if n > 0 then
    redis.call('SADD', s.key .. KEY.busy .. c.name, unpack(now_busy))
    redis.call('HSET', s.key .. KEY.held .. c.name, unpack(now_held))
  end
  return parked
end
