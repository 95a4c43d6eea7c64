-- holding: which message holds which ordering key. shared/ordering.lua has the messages that wait for one.
--
--   broker:{S}:busy:C     set   ordering keys that a message holds
--   broker:{S}:held:C     hash  the message -> its ordering key
--   broker:{S}:parked:C   hash  a message that waits for its ordering key -> the ordering key
--   broker:{S}:queue:C    zset  "length:key:id" of the same, which finds the first message of an ordering key
--
-- If messages of an ordering key are parked, the key is busy. Each message is parked once and released once.

local function hold_key(s, name, key, id)
  redis.call('SADD', s.key .. KEY.busy .. name, key)
  redis.call('HSET', s.key .. KEY.held .. name, id, key)
end

-- The row in `queue` of a message that waits for its ordering key.
local function queue_row(key, member)
  return #key .. ':' .. key .. ':' .. member
end

-- The message no longer holds its ordering key: the next message of the key may be delivered.
local function free_key(s, name, id)
  local held, busy, queue = s.key .. KEY.held .. name, s.key .. KEY.busy .. name, s.key .. KEY.queue .. name
  local key = redis.call('HGET', held, id)
  if not key then return end
  redis.call('HDEL', held, id)
  local prefix = #key .. ':' .. key
  while true do
    local first = redis.call('ZRANGEBYLEX', queue, '[' .. prefix .. ':', '(' .. prefix .. ';', 'LIMIT', 0, 1)[1]
    if not first then
      redis.call('SREM', busy, key)
      return
    end
    redis.call('ZREM', queue, first)
    local member = string.sub(first, #prefix + 2)
    local next_id = stream_id(member)
    if redis.call('HDEL', s.key .. KEY.parked .. name, next_id) == 1 then
      hold_key(s, name, key, next_id)
      redis.call('ZADD', s.key .. KEY.retry .. name, 0, member)
      wake(s, name)
      return
    end
  end
end

-- The same for many ids. If no message waits for an ordering key, there is nothing to release.
local function free_keys(s, c, ids)
  if #ids == 0 then return end
  if redis.call('EXISTS', s.key .. KEY.queue .. c.name) == 1 then
    for _, id in ipairs(ids) do free_key(s, c.name, id) end
    return
  end
  local keys = {}
  for _, key in ipairs(redis.call('HMGET', s.key .. KEY.held .. c.name, unpack(ids))) do
    if key then keys[#keys + 1] = key end
  end
  if #keys == 0 then return end
  redis.call('HDEL', s.key .. KEY.held .. c.name, unpack(ids))
  redis.call('SREM', s.key .. KEY.busy .. c.name, unpack(keys))
end
