-- fast_read: settle acks, and let the XREADGROUP that follows in the same transaction deliver.
-- uses: filters entries holding ordering keys schedule upkeep positions fence counts delivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; batch, 1...1000; how many groups of acks; these, as for ack
-- returns  [1]: nothing was done and nothing is delivered, call next; [2]: the same, and it always is so of this consumer;
--          [3]: the same, but next sees to what was in the way; else the reply below of `next` without rows, and how many messages
--          follow, fewer where a plain client has read within the last second
-- reply    behind epoch num_pending num_ack_pending due_in max_waiting seen paused settled messages
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens + log n)
--
-- (docs/decisions/0014) The next new messages of an unfiltered consumer need not pass through Lua. Where there is nothing to do but to deliver
-- them, and with ordering by key all their keys are known and free, this counts them as out and makes the gate, a stream
-- without which the read that follows fails before it has given anything:
--
--   MULTI
--   EVALSHA fast_read 1 broker:{S} C batch ...
--   XREADGROUP GROUP C http COUNT batch STREAMS broker:{S}:log broker:{S}:gate:C > >
--   DEL broker:{S}:gate:C
--   EXEC
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if c.filtered or c.keyed and c.index then return { 2 } end
if c.start or c.steps ~= s.steps or s.now >= c.sweep_at or c.keyed and verify_due(s, c) then return { 3 } end
if sync_due(s, c) then
  free_first(s)
  sync_cursor(s, c)
end
if c.paused or upkeep_due(s) or not c.index and redis.call('EXISTS', s.key .. ':plain') == 1 or redelivery_due(s, c) then return { 1 } end

local batch, settles, out, waiting = tonumber(ARGV[2]), ARGV[3] ~= '0', num_ack_pending(s, c), num_new(s, c)
local count, set_back = math.min(batch, waiting), num_set_back(s, c)
if count == 0 or out + batch > c.max_ack_pending or fitting(s, MAX_ANSWER_BYTES, count) < count then return { 1 } end
local from = math.max(c.position, s.first - 1) + 1

-- Take the keys of the events from one number to another. False, and nothing is done: one is unknown or busy (`any_busy`: some
-- key is), or two are equal. Where events were appended one by one, more entries are asked for at once.
local function take_keys_between(from, to, any_busy)
  local keys, held, n, ask = {}, {}, 0, 1
  while from <= to do
    local events
    for _, entry in ipairs(redis.call('XRANGE', s.key .. ':keys', string.format('%.0f', from), '+', 'COUNT', ask)) do
      local last
      last, events = string.match(entry[1], '^(%d+)-(%d+)$')
      local before = last - events
      if before >= from then return false end
      local list = cmsgpack.unpack(entry[2][2])
      for i = 2 * (from - before), 2 * (math.min(to, last) - before), 2 do
        if list[i] ~= '' then
          n = n + 1
          keys[n], held[2 * n - 1], held[2 * n] = list[i], list[i - 1], list[i]
        end
      end
      from = math.min(to, last) + 1
    end
    if not events then return false end
    ask = math.ceil((to - from + 1) / events)
  end
  if n == 0 then return true end
  for _, busy in ipairs(any_busy and redis.call('SMISMEMBER', s.key .. ':busy:' .. c.name, unpack(keys)) or {}) do
    if busy == 1 then return false end
  end
  return hold_keys(s, c.name, keys, held)
end

if c.keyed then
  -- Settling may release what waits for its key, and more keys than messages that can hold one are for next to look at.
  local parked, held = set_back - redis.call('ZCARD', c.retry), redis.call('HLEN', s.key .. ':held:' .. c.name)
  if settles and parked > 0 or held > out + set_back - parked or not take_keys_between(from, from + count - 1, held > 0) then
    return { 1 }
  end
end

local settled = { 0, 0 }
if settles then
  local acked, stale = ack_tokens(s, c, ARGV, 4, tonumber(ARGV[3]), c.keyed and free_keys)
  settled, out = { acked, 0, unpack(stale) }, out - acked
end
local gate = s.key .. ':gate:' .. c.name
redis.call('DEL', gate) -- first what frees: a Redis at its memory limit lets a script go on then
keep_clock(s)
if c.index then
  local last = redis.call('ZRANGEBYLEX', c.index, '(' .. sortable(c.cursor), '+', 'LIMIT', count - 1, 1)[1]
  redis.call('HSET', c.key, 'cursor', stream_id(last))
else
  redis.call('HSET', c.key, 'cursor', '', 'position', from + count - 1)
end
redis.call('XGROUP', 'CREATE', gate, c.name, '0', 'MKSTREAM')
return { 0, c.epoch, waiting - count + set_back, out + count, -1, c.max_waiting, s.seen, 0, settled, count }
