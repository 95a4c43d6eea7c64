-- next: settle, then deliver a batch to a worker. Redeliveries come first, then new messages, each in stream order.
-- uses: filters entries holding ordering keys schedule upkeep positions counts fence leases acks delivery settle
-- KEYS[1]  broker:{S}
-- ARGV     consumer; batch, 0...1000; min_batch: with fewer to deliver, deliver nothing; how many groups of acks; these, as
--          for ack; then 6 a nack, as for nack
-- returns  [behind = 1]: a bounded step of upkeep was made, call again; else
--          [0, epoch, num_pending, num_ack_pending, due_in, max_waiting, seen, paused (1 or 0), settled: [acked, nacked,
--          positions of the stale tokens, acks first, from 1], then 5 a message: id, delivery number, deliver count,
--          head, body]. due_in: ms until something may come due, -1 = not by time alone; told only where nothing was
--          delivered. seen: the last id of the log, from where a waiting reader goes on. head, body: shared/entries.lua
-- errors   CONSUMER_NOT_FOUND
-- cost     O(batch + log n), whatever waits and whatever is out; with ordering by key it parks 125 messages at most, 50 where some wait already
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local batch, min_batch, settles = tonumber(ARGV[2]), tonumber(ARGV[3]), #ARGV > 4
local now = now_ms()
if not ready(s, c, now) then return { 1 } end
redis.call('UNLINK', s.key .. ':leases:' .. c.name)

local settled = { 0, 0 }
if settles then
  local groups = tonumber(ARGV[4])
  local acked, stale_acks, acks = ack_tokens(s, c, ARGV, 5, groups, c.keyed and free_keys)
  local nacked, stale_nacks = nack_tokens(s, c, ARGV, 5 + 3 * groups, now)
  settled[1], settled[2] = acked, nacked
  for _, position in ipairs(stale_acks) do settled[#settled + 1] = position end
  for _, position in ipairs(stale_nacks) do settled[#settled + 1] = acks + position end
end
local paused = c.paused_until > now
if paused then batch = 0 end

local out, before = num_ack_pending(s, c), { sweep = c.sweep, sweep_at = c.sweep_at }
local reply, delivered, budget = { 0, c.epoch, 0, 0, -1, c.max_waiting, s.seen, paused and 1 or 0, settled }, 0, ROWS_A_CALL

local n = #reply
local function deliver(entry, number, given_back)
  reply[n + 1], reply[n + 2], reply[n + 3] = entry[1], number, number - given_back
  reply[n + 4], reply[n + 5] = content_of(s, entry)
  n, delivered = n + 5, delivered + 1
end

-- Expired rows and due retries as one list in stream order. Redelivering a row that is out needs no place.
local function candidates(wanted)
  local rows, dead
  repeat
    rows, dead = bury_exhausted(s, c, expired(s, c, now, c.max_deliver > 0 and math.max(wanted, 100) or wanted), now)
    out, budget = out - dead, budget - dead
  until dead == 0 or budget <= 0
  local places, own = math.min(wanted, c.max_ack_pending - out), #rows
  if places > 0 and redis.call('EXISTS', c.retry) == 1 then
    promote(c.retry, now)
    for _, member in ipairs(first_due(c.retry, places)) do
      rows[#rows + 1] = { id = stream_id(member), member = member, retry = true }
    end
    if own > 0 and #rows > own then table.sort(rows, function(a, b) return a.member < b.member end) end
  end
  for i = #rows, wanted + 1, -1 do rows[i] = nil end
  return rows
end

-- Deliver a row again. An entry that has left the stream is dropped, by XCLAIM and so by us.
local function redeliver(row, notes)
  local number, given_back, entry = 0, 0
  if notes then number, given_back = note_of(c, row.id) end
  if row.retry then
    redis.call('ZREM', c.retry, row.member)
    redis.call('ZREM', s.key .. ':retrying', row.member .. ':' .. c.name)
    if exhausted(c, number - given_back) then -- max_deliver was lowered meanwhile
      bury(s, c, { id = row.id, count = number, idle = 0 }, 'max_deliver', now)
      if c.keyed then free_key(s, c.name, row.id) end
      budget = budget - 1
      return
    end
    number = number + 1
    entry = redis.call('XCLAIM', s.log, c.name, 'http', 0, row.id, 'FORCE', 'RETRYCOUNT', number)[1]
  else
    number = row.count + 1
    entry = redis.call('XCLAIM', s.log, c.name, 'http', 0, row.id, 'RETRYCOUNT', number)[1]
    if row.in_order then c.sweep = row.id end
    out = out - 1
  end
  if entry then
    redis.call('ZADD', c.deadlines, now + redelivery_delay(c, number - given_back), row.member)
    deliver(entry, number, given_back)
    out = out + 1
  else
    redis.call('ZREM', c.deadlines, row.member)
    redis.call('HDEL', c.notes, row.id)
    if c.keyed then free_key(s, c.name, row.id) end
    budget = budget - 1
  end
end

-- Messages that the consumer has not reached yet, now in its PEL; nil where there are none.
local function claim_new(count)
  if not c.filtered then
    local read = redis.call('XREADGROUP', 'GROUP', c.name, 'http', 'COUNT', count, 'STREAMS', s.log, '>')
    if not read then
      c.position = s.idx
      return nil
    end
    local entries = read[1][2]
    local last = entries[#entries]
    c.cursor = last[1]
    if not c.index then c.position = idx_of(s, last) end
    return entries
  end
  local ids = redis.call('ZRANGEBYLEX', c.index, '(' .. sortable(c.cursor), '+', 'LIMIT', 0, count)
  if #ids == 0 then return nil end
  for i, member in ipairs(ids) do ids[i] = stream_id(member) end
  c.cursor = ids[#ids]
  for _, option in ipairs({ 'FORCE', 'RETRYCOUNT', 1, 'LASTID', c.cursor }) do ids[#ids + 1] = option end
  return redis.call('XCLAIM', s.log, c.name, 'http', 0, unpack(ids))
end

-- What a parked message costs, in rows that are looked at; and how many are claimed at once where some are parked already, and
-- so more may be. Else a claim is parked whole at most once.
local PARKING, CLAIM = 120, 25
local crowded = c.keyed and redis.call('EXISTS', s.key .. ':parked:' .. c.name) == 1

-- Deliver new messages but for those whose time to live is over or whose key is busy. Returns how many, and whether there
-- may be more.
local function deliver_new(count)
  local limit = c.keyed and math.min(count, crowded and CLAIM or 4 * CLAIM) or count
  local claimed = claim_new(limit)
  if not claimed then return 0, false end
  local entries, back, got = claimed, {}, 0
  if any_lapsed(s) then
    entries = {}
    for _, entry in ipairs(claimed) do
      local kept = has_lapsed(s, entry[1]) and back or entries
      kept[#kept + 1] = kept == back and entry[1] or entry
    end
  end
  local parked = c.keyed and take_keys(s, c, entries) or {}
  for i, entry in ipairs(entries) do
    if parked[i] then
      back[#back + 1] = entry[1]
      budget, crowded = budget - PARKING, true
    else
      deliver(entry, 1, 0)
      got = got + 1
    end
  end
  if #back > 0 then redis.call('XACK', s.log, c.name, unpack(back)) end
  redis.call('HSET', c.key, 'cursor', c.cursor, 'position', c.position)
  budget = budget - #back
  return got, #claimed == limit
end

if c.keyed then verify_keys(s, c, now, out) end
local quiet = now < c.sweep_at and redis.call('EXISTS', c.deadlines, c.retry) == 0
local rows = (paused or quiet) and {} or candidates(batch)
local waiting = (c.index and not c.keyed or min_batch > 1) and num_new(s, c)
if min_batch <= 1 or #rows + math.min(waiting, math.max(0, c.max_ack_pending - out)) >= min_batch then
  while #rows > 0 and budget > 0 do
    local notes, expected = redis.call('EXISTS', c.notes) == 1, delivered + #rows
    for _, row in ipairs(rows) do redeliver(row, notes) end
    rows = delivered < expected and candidates(batch - delivered) or {}
  end
  local wanted, more, got = math.min(batch - delivered, c.max_ack_pending - out), waiting ~= 0, nil
  while more and wanted > 0 and budget > 0 do
    got, more = deliver_new(wanted)
    out, wanted = out + got, wanted - got
    waiting = c.index and not c.keyed and waiting - got
  end
end
c.unfinished = c.unfinished or budget <= 0
waiting = waiting or num_new(s, c)
keep_sweep(c, before)
if delivered == 0 and c.unfinished and not settles then return { 1 } end
if delivered < batch and out >= c.max_ack_pending and not c.full then redis.call('HSET', c.key, 'full', 1) end
reply[3] = waiting + (quiet and not c.keyed and 0 or num_set_back(s, c))
reply[4] = out
if delivered == 0 then reply[5] = c.unfinished and 0 or due_in(s, c, now, out) end
return reply
