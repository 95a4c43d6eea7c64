-- next: settle, then deliver a batch to a worker. Redeliveries come first, then new messages, each in stream order.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: nacks workers ahead
-- KEYS[1]  broker:{S}
-- ARGV     consumer; batch, 0...1000; min_batch: deliver nothing if fewer are deliverable; how many groups of acks; the
--          groups, as for ack; then 6 per nack, as for nack; [the worker's name, 1-64 visible characters]
-- returns  [again = 1]: it did one bounded step of upkeep; [1, settled]: the same, but it has settled: call again
--          without acks and nacks; else the reply. due_in: ms until something may come due, -1 = nothing by time alone,
--          0 = call again at once; set only if nothing was delivered, and 0 if the reply's size ended the batch.
--          seen: the last id of the log, from which a waiting reader continues. paused: 1 or 0. settled: [acked,
--          nacked, positions of the stale tokens, acks first, from 1]. head, body: shared/entries.lua
-- reply    again epoch num_pending num_ack_pending due_in max_waiting seen paused settled / id number deliver_count
--          head body
-- errors   CONSUMER_NOT_FOUND
-- cost     O(batch + log n), independent of how many wait or are out; with ordering by key it parks 125 messages at
--          most, 50 if some wait already
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local batch, min_batch, settled = tonumber(ARGV[2]), tonumber(ARGV[3]), { 0, 0 }
local reader = OURS
if (#ARGV - 4 - 3 * (ARGV[4] or 0)) % 6 == 1 then reader = reader_for(s, c, table.remove(ARGV)) end
if not ready(s, c) then return { 1 } end
if #ARGV > 4 then
  local groups = tonumber(ARGV[4])
  local acked, stale_acks, acks = ack_tokens(s, c, ARGV, 5, groups, c.keyed and free_keys)
  local nacked, stale_nacks = nack_tokens(s, c, ARGV, 5 + 3 * groups)
  settled[1], settled[2] = acked, nacked
  for _, position in ipairs(stale_acks) do settled[#settled + 1] = position end
  for _, position in ipairs(stale_nacks) do settled[#settled + 1] = acks + position end
end
local again = #ARGV > 4 and { 1, settled } or { 1 }
if not expire(s, c) then return again end

local reply = { 0, c.epoch, 0, 0, -1, c.max_waiting, last_id(s), c.paused and 1 or 0, settled }
local n, delivered, out, bytes = #reply, 0, num_ack_pending(s, c), MAX_ANSWER_BYTES
local wanted = c.paused and 0 or batch
local function deliver(entry, number, deliver_count)
  local head, body = content_of(s, entry)
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5] = entry[1], number, deliver_count, head, body
  n, delivered, wanted, bytes = n + 5, delivered + 1, wanted - 1, bytes - #body - MESSAGE_BYTES
end

-- Whether the reply may not grow any more: the next message may be the largest one.
local function is_full()
  return delivered > 0 and bytes < s.largest + MESSAGE_BYTES
end

-- Claims rows again: one XAUTOCLAIM if they are first deliveries without other rows of the PEL between them, else one
-- XCLAIM per delivery number. Returns the entries by id; Redis drops rows whose entry has left the stream from the PEL.
local function claim_again(rows, run)
  local claimed, groups = {}, {}
  if run then
    local found = redis.call('XAUTOCLAIM', s.log, c.name, reader, 0, rows[1].id, 'COUNT', #rows)
    for _, entry in ipairs(found[2]) do claimed[entry[1]] = entry end
    return claimed
  end
  for _, row in ipairs(rows) do
    groups[row.number] = groups[row.number] or {}
    table.insert(groups[row.number], row.id)
  end
  for number, ids in pairs(groups) do
    for _, option in ipairs({ 'FORCE', 'RETRYCOUNT', number }) do ids[#ids + 1] = option end
    for _, entry in ipairs(redis.call('XCLAIM', s.log, c.name, reader, 0, unpack(ids))) do claimed[entry[1]] = entry end
  end
  return claimed
end

-- Delivers rows again. Those that were in the PEL already count as out.
local function redeliver(rows, run)
  local ids, notes, deadlines, began, firsts, old, gone = {}, {}, {}, {}, {}, {}, {}
  local noted = redis.call('EXISTS', c.notes) == 1
  for i, row in ipairs(rows) do
    ids[i], row.given_back = row.id, 0
    if noted then notes[i], row.given_back = note_of(c, row.id) end
    row.number = (row.number or notes[i] or 0) + 1
    if row.due then run = false
    elseif not row.retry then c.sweep = row.id
    else
      run = false
      redis.call('ZREM', c.retry, row.member)
      if c.keyed then redis.call('SREM', c.fresh, row.id) end
      redis.call('ZREM', s.key .. KEY.retrying, row.member .. ':' .. c.name)
    end
  end
  local claimed = records_of(s, c, claim_again(rows, run))
  for _, row in ipairs(rows) do
    local entry, count = claimed[row.id], row.number - row.given_back
    if entry then
      deliver(entry, row.number, count)
      began[count] = began[count] or string.format('%.0f', s.now + redelivery_delay(c, count))
      deadlines[#deadlines + 1], deadlines[#deadlines + 2] = began[count], row.member or sortable(row.id)
      if count <= 1 then firsts[#firsts + 1] = row.id elseif row.due then old[#old + 1] = row.id end
      if row.retry then out = out + 1 end
    else
      gone[#gone + 1] = row.id
      forget_deadline(c, row.id)
      if not row.retry then out = out - 1 end
      if c.keyed then free_key(s, c.name, row.id) end
    end
  end
  if #deadlines > 0 then redis.call('ZADD', c.deadlines, unpack(deadlines)) end
  if #old > 0 then redis.call('SREM', c.firsts, unpack(old)) end
  if #firsts > 0 then redis.call('SADD', c.firsts, unpack(firsts)) end
  if #gone > 0 then redis.call('HDEL', c.notes, unpack(gone)) end
end

-- Claims messages that the consumer has not reached yet. Returns nil if there are none.
local function claim_new(count)
  if not c.filtered and not is_mixed(s) then
    local read = redis.call('XREADGROUP', 'GROUP', c.name, reader, 'COUNT', count, 'STREAMS', s.log, '>')
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
  return redis.call('XCLAIM', s.log, c.name, reader, 0, unpack(ids))
end

-- PARKING: what a parked message costs, in rows looked at. CLAIM: how many are claimed at once if some are parked
-- already, since more may be. Otherwise at most one claim is parked as a whole.
local PARKING, CLAIM, budget = 120, 25, 3000
local crowded = c.keyed and redis.call('EXISTS', s.key .. KEY.parked .. c.name) == 1

-- Delivers new messages, except those whose time to live is over or whose ordering key is busy. Returns how many, and
-- whether there may be more.
local function deliver_new(count)
  local limit = fitting(s, bytes, c.keyed and math.min(count, crowded and CLAIM or 4 * CLAIM) or count)
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
      deliver(entry, 1, 1)
      got = got + 1
    end
  end
  if #back > 0 then redis.call('XACK', s.log, c.name, unpack(back)) end
  redis.call('HSET', c.key, 'cursor', c.cursor, 'position', c.position)
  budget = budget - #back
  return got, #claimed == limit
end

if c.keyed then verify_keys(s, c, out) end
local places, full = c.max_ack_pending - out, false
local rows = c.paused and {} or redeliverable(s, c, wanted, places)
local bound = rows.bound
local waiting = (c.index and not c.keyed or min_batch > 1) and num_new(s, c)
local free = min_batch > 1 and num_free(s, c, min_batch) or 0
if wanted > 0 and (min_batch <= 1 or #rows + math.min(free, math.max(0, places)) >= min_batch) then
  local first, looks = n, 0
  while #rows > 0 and budget > 0 and not full do
    local from, expected = 1, delivered + #rows
    looks = looks + 1
    while from <= #rows and not full do
      local upto = math.min(#rows, from - 1 + fitting(s, bytes, #rows))
      redeliver({ unpack(rows, from, upto) }, rows.run)
      from, full = upto + 1, is_full()
    end
    budget = budget - #rows
    rows = delivered < expected and not full and redeliverable(s, c, wanted, c.max_ack_pending - out) or {}
    bound = bound or rows.bound
  end
  if looks > 1 then sort_rows(reply, first, 5) end -- earlier messages may have got the places of rows that are gone
  local more, got = waiting ~= 0 and not bound, nil
  while more and budget > 0 and not full and math.min(wanted, c.max_ack_pending - out) > 0 do
    got, more = deliver_new(math.min(wanted, c.max_ack_pending - out))
    out, full = out + got, is_full()
    waiting = c.index and not c.keyed and waiting - got
  end
end
waiting = waiting or num_new(s, c)
keep_sweep(c)
if delivered == 0 and (bound or budget <= 0) then return again end
if delivered < batch and out >= c.max_ack_pending and not c.full then redis.call('HSET', c.key, 'full', 1) end
reply[3], reply[4] = waiting + num_set_back(s, c), out
if full and wanted > 0 then reply[5] = 0
elseif delivered == 0 then reply[5] = due_in(s, c, out) end
return reply
