-- holding: which message holds which key. Its other side, the messages that wait for one, is shared/ordering.lua.
--
--   broker:{S}:busy:C     set   keys that a message holds
--   broker:{S}:held:C     hash  the message -> its key
--   broker:{S}:parked:C   hash  a message that waits for its key -> the key
--   broker:{S}:queue:C    zset  "length:key:id" of the same, so that a key's first one is found
--
-- Parked messages of a key imply that it is busy. Each message is parked once and released once, whatever a key holds.

local function hold_key(s, name, key, id)
  redis.call('SADD', s.key .. KEY.busy .. name, key)
  redis.call('HSET', s.key .. KEY.held .. name, id, key)
end

-- Where a message stands that waits for its key.
local function queue_row(key, member)
  return #key .. ':' .. key .. ':' .. member
end

-- The message no longer holds its key: the next of the key may be delivered.
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

-- Likewise for those of many ids. Where no message waits for a key there is nothing to release.
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
