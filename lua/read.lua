-- read: settle acks, and let the XREADGROUP that follows in the same transaction deliver.
-- uses: holding fence leases acks
-- KEYS[1]  broker:{S}
-- ARGV     consumer; batch, 1...1000; how many groups of acks; these, as for ack; then how many messages of the batch each
--          caller is given who shares in it: what one is given has a stamp of its own, by which all of it is quickly acked
-- returns  [1]: nothing was done and nothing is delivered, call next; [2]: likewise, and so it always is of this consumer;
--          [3]: likewise, but that next sees to what was in the way;
--          else what next returns without the messages, and how many these are: [0, epoch, num_pending, num_ack_pending,
--          -1, max_waiting, seen, 0, settled, count, a list with the stamp of each share]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(tokens + log n)
--
-- The next new messages of an unfiltered consumer need not come through Lua. Where there is nothing to do beside
-- delivering them, and with ordering by key all their keys are known and free, this counts them as out and makes the
-- gate, a stream without which the read that follows fails before it has given anything:
--
--   MULTI
--   EVALSHA read 1 broker:{S} C batch ...
--   XREADGROUP GROUP C http COUNT batch STREAMS broker:{S}:log broker:{S}:gate:C > >
--   DEL broker:{S}:gate:C
--   EXEC
local key, name, batch = KEYS[1], ARGV[1], tonumber(ARGV[2])

-- Take the keys of the events from the one number on to the other. False, and nothing is done, where one is not known or
-- is busy (`any_busy`: some key is), or two are the same. Where events were appended one by one, more entries are asked for
-- at once.
local function take_keys_between(s, from, to, any_busy)
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
  for _, busy in ipairs(any_busy and redis.call('SMISMEMBER', s.key .. ':busy:' .. name, unpack(keys)) or {}) do
    if busy == 1 then return false end
  end
  return hold_keys(s, name, keys, held)
end

local own, log, gate = key .. ':consumer:' .. name, key .. ':log', key .. ':gate:' .. name
local epoch, filter, ordering, full, start, paused, max_ack_pending, max_waiting, ack_wait_ms, sweep_at, synced_at, cursor,
  position, verified_at, stamp = unpack(redis.call('HMGET', own, 'epoch', 'filter', 'ordering', 'full', 'start', 'paused_until',
  'max_ack_pending', 'max_waiting', 'ack_wait_ms', 'sweep_at', 'synced_at', 'cursor', 'position', 'verified_at', 'stamp'))
local keyed = ordering == 'key'
if not epoch then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if filter ~= '' then return { 2 } end

-- Upkeep is left to next: to sweep, to sync, to trim, to count what plain clients have added (their entries have their number
-- elsewhere), to append what was delayed, to pass over what has lapsed or lies before a start that is yet to come.
local now = now_ms()
if start or now >= tonumber(sweep_at) or now - (keyed and (verified_at or 0) or synced_at) >= 1000 then return { 3 } end
if paused and paused ~= '' and (paused == 'inf' or tonumber(paused) > now) then return { 1 } end
local kind, idx, seen, first, max_messages, max_age_ms, schedules = unpack(redis.call('HMGET', key, 'kind', 'idx', 'seen',
  'first', 'max_messages', 'max_age_ms', 'schedules'))
local index = kind == 'records' and key .. ':index:all'
if keyed and index then return { 2 } end
if not index then
  if cursor ~= '' and sortable(cursor) >= sortable(seen)
    or #entries_behind(log, seen, 1) > 0 or redis.call('EXISTS', key .. ':plain') == 1
    or max_messages ~= '' and redis.call('XLEN', log) > tonumber(max_messages)
    or max_age_ms ~= '' and #redis.call('XRANGE', log, '-', string.format('%.0f', math.max(0, now - max_age_ms - 1)), 'COUNT', 1) > 0
    or schedules and (redis.call('EXISTS', key .. ':lapsed') == 1 or redis.call('ZCOUNT', key .. ':ttl', '-inf', now) > 0
      or redis.call('ZCOUNT', key .. ':delayed', '-inf', now) > 0) then
    return { 1 }
  end
end

-- Nothing may be due to be delivered again, nor the bound on what is out be near.
local deadlines, retry, set_back = key .. ':deadlines:' .. name, key .. ':retry:' .. name, 0
if redis.call('EXISTS', deadlines, retry) > 0 then
  if redis.call('ZCOUNT', retry, '-inf', now) > 0 or redis.call('ZCOUNT', deadlines, '-inf', now - ack_wait_ms) > 0 then
    return { 1 }
  end
  set_back = redis.call('ZCARD', retry)
end
local pending = redis.call('XPENDING', log, name)
local out = pending[1]
local before = index or math.max(tonumber(position), (first or 1) - 1)
local ahead = index and redis.call('ZLEXCOUNT', index, '(' .. sortable(cursor), '+') or idx - before
if ahead == 0 or out + batch > tonumber(max_ack_pending) then return { 1 } end

local s, count, settles = { key = key, log = log }, math.min(batch, ahead), ARGV[3] ~= '0'
if keyed then
  local parked, held = redis.call('ZCARD', key .. ':parked:' .. name), redis.call('HLEN', key .. ':held:' .. name)
  -- Settling may release what waits for its key, and more keys than messages that can hold one are for next to look at.
  if settles and parked > 0 or held > out + set_back or not take_keys_between(s, before + 1, before + count, held > 0) then
    return { 1 }
  end
  set_back = set_back + parked
end

local c = { key = own, name = name, epoch = epoch, stamp = stamp or epoch, full = full, deadlines = deadlines,
  notes = key .. ':notes:' .. name }
open_leases(s, c, pending)
local settled = { 0, 0 }
if settles then
  local acked, stale = ack_tokens(s, c, ARGV, 4, tonumber(ARGV[3]), keyed and free_keys)
  settled, out = { acked, 0, unpack(stale) }, out - acked
end
-- First a command that frees: a Redis at its memory limit lets a script go on with others behind it.
redis.call('DEL', gate)
local stamps, last = lease(c, now, count, { unpack(ARGV, 4 + 3 * ARGV[3]) })
if index then
  cursor = stream_id(redis.call('ZRANGEBYLEX', index, '(' .. sortable(cursor), '+', 'LIMIT', count - 1, 1)[1])
  redis.call('HSET', own, 'cursor', cursor, 'stamp', last)
else
  redis.call('HSET', own, 'cursor', '', 'position', before + count, 'stamp', last)
end
redis.call('XGROUP', 'CREATE', gate, name, '0', 'MKSTREAM')
return { 0, epoch, ahead - count + set_back, out + count, -1, tonumber(max_waiting), seen, 0, settled, count, stamps }
