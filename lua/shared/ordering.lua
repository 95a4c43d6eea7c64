-- ordering: at most one message of a key is out or waiting for a retry; later ones of the key are parked.
--
--   broker:{S}:busy:C     hash  key -> the message that holds it
--   broker:{S}:held:C     hash  the message -> its key
--   broker:{S}:parked:C   zset  ids of messages that wait for their key
--   broker:{S}:queue:C    zset  "length:key:id" of the same, so that a key's first one is found; may hold some that left
--
-- Parked messages of a key imply that it is busy. Each message is parked once and released once, whatever a key holds.

local function hold_key(s, name, key, id)
  redis.call('HSET', s.key .. ':busy:' .. name, key, id)
  redis.call('HSET', s.key .. ':held:' .. name, id, key)
end

-- Messages, as pairs of key and id, that wait for their key.
local function park(s, name, messages)
  local parked, queue, retrying = {}, {}, {}
  for i = 1, #messages, 2 do
    local key, member = messages[i], sortable(messages[i + 1])
    parked[i], parked[i + 1] = 0, member
    queue[i], queue[i + 1] = 0, #key .. ':' .. key .. ':' .. member
    retrying[i], retrying[i + 1] = 0, member .. ':' .. name
  end
  redis.call('ZADD', s.key .. ':parked:' .. name, unpack(parked))
  redis.call('ZADD', s.key .. ':queue:' .. name, unpack(queue))
  redis.call('ZADD', s.key .. ':retrying', unpack(retrying))
end

-- The message no longer holds its key: the next of the key may be delivered.
local function free_key(s, name, id)
  local held, busy, queue = s.key .. ':held:' .. name, s.key .. ':busy:' .. name, s.key .. ':queue:' .. name
  local key = redis.call('HGET', held, id)
  if not key then return end
  redis.call('HDEL', held, id)
  local prefix = #key .. ':' .. key
  while true do
    local first = redis.call('ZRANGEBYLEX', queue, '[' .. prefix .. ':', '(' .. prefix .. ';', 'LIMIT', 0, 1)[1]
    if not first then
      redis.call('HDEL', busy, key)
      return
    end
    redis.call('ZREM', queue, first)
    local member = string.sub(first, #prefix + 2)
    if redis.call('ZREM', s.key .. ':parked:' .. name, member) == 1 then
      hold_key(s, name, key, stream_id(member))
      redis.call('ZADD', s.key .. ':retry:' .. name, 0, member)
      wake(s, name)
      return
    end
  end
end

-- Likewise for those from ids[from] to ids[to]. Where no message waits for a key there is nothing to release.
local function free_keys(s, c, ids, from, to)
  if to < from then return end
  if redis.call('EXISTS', s.key .. ':queue:' .. c.name) == 1 then
    for i = from, to do free_key(s, c.name, ids[i]) end
    return
  end
  local keys = {}
  for _, key in ipairs(redis.call('HMGET', s.key .. ':held:' .. c.name, unpack(ids, from, to))) do
    if key then keys[#keys + 1] = key end
  end
  if #keys == 0 then return end
  redis.call('HDEL', s.key .. ':held:' .. c.name, unpack(ids, from, to))
  redis.call('HDEL', s.key .. ':busy:' .. c.name, unpack(keys))
end

-- A message that lies in the retry set anew: it takes its key, or is parked where another one has it.
local function wait_for_key(s, c, id)
  local key = key_of(s, redis.call('XRANGE', s.log, id, id)[1])
  if key == '' then return end
  if redis.call('HEXISTS', s.key .. ':busy:' .. c.name, key) == 1 then
    redis.call('ZREM', c.retry, sortable(id))
    park(s, c.name, { key, id })
  else
    hold_key(s, c.name, key, id)
  end
end

-- A plain client acks without telling: look at some keys whether their holders still are. More of them than messages that
-- are out or wait to be delivered again is proof that some are not; else it takes a look now and then.
local function verify_keys(s, c, now, out)
  local proof = redis.call('HLEN', s.key .. ':held:' .. c.name) > out + redis.call('ZCARD', c.retry)
  if not proof and now - c.verified_at < 1000 then return end
  local found = redis.call('HSCAN', s.key .. ':busy:' .. c.name, c.verify_from, 'COUNT', proof and 500 or 100)
  for i = 2, #found[2], 2 do
    local id = found[2][i]
    if #redis.call('XPENDING', s.log, c.name, id, id, 1) == 0 and not redis.call('ZSCORE', c.retry, sortable(id)) then
      free_key(s, c.name, id)
    end
  end
  redis.call('HSET', c.key, 'verify_from', found[1], 'verified_at', now)
end

-- A small hash is a list, which is looked through for each field. One long value makes it a table of Redis', for good.
local function set_many(key, fields)
  local many = #fields > 32
  if many then fields[#fields + 1], fields[#fields + 2] = '', string.rep(' ', 1024) end
  redis.call('HSET', key, unpack(fields))
  if many then redis.call('HDEL', key, '') end
end

-- Messages claimed for their first delivery: those whose key is free take it, the others are parked. Returns the set of
-- positions of the parked ones.
local function take_keys(s, c, entries)
  local parked, waiting, keys, taken, now_busy, now_held, n = {}, {}, {}, {}, {}, {}, 0
  for i, entry in ipairs(entries) do keys[i] = key_of(s, entry) end
  local busy = #keys > 0 and redis.call('HMGET', s.key .. ':busy:' .. c.name, unpack(keys)) or {}
  for i, key in ipairs(keys) do
    local id = entries[i][1]
    if key ~= '' and (busy[i] or taken[key]) then
      parked[i] = true
      waiting[#waiting + 1], waiting[#waiting + 2] = key, id
    elseif key ~= '' then
      taken[key] = true
      now_busy[n + 1], now_busy[n + 2], now_held[n + 1], now_held[n + 2] = key, id, id, key
      n = n + 2
    end
  end
  if #waiting > 0 then park(s, c.name, waiting) end
  if n > 0 then
    set_many(s.key .. ':busy:' .. c.name, now_busy)
    set_many(s.key .. ':held:' .. c.name, now_held)
  end
  return parked
end
