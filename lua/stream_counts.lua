-- stream_counts: what a stream holds, and the counts of many of its consumers, as consumer_info gives them.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: ahead inspection
-- KEYS[1]  broker:{S}
-- ARGV     after ('' at first); consumers' names, or none
-- returns  [again = 1]; else the reply, without consumers that do not exist. If `looked`, the number of names done, is
--          less than the number of names, call again with the rest and with `after`, which belongs to the first of
--          them. appended: how many messages were ever appended to the stream; now: Redis' clock; oldest_pending: when
--          the oldest waiting message was appended, -1 = none; both in ms
-- reply    again messages appended looked after now
--          / consumer num_pending num_ack_pending num_retrying num_dead oldest_pending
-- errors   STREAM_NOT_FOUND
-- cost     O(names · log n), and the work of consumer_info for what has expired. A step ends with the consumer at which
--          its work is used up, in units of about 2 µs, or at 1000 rows of waiting messages, if a consumer has more of
--          its own or ordering by key
local RETRIES, STEP = 1000, 800

local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local left = STEP

-- When the entry with this number was appended, nil = ids are beyond Lua's integers. Numbers grow with time, so this
-- searches the times between two entries: in turn at the time that their numbers make likely, and in the middle.
local function time_of_number(number)
  local first = first_entry(s)
  local low, high = tonumber(string.match(first[1], '^%d+')), tonumber(string.match(s.seen, '^%d+'))
  if high >= 2 ^ 53 then return nil end
  local low_number, high_number, likely = idx_of(s, first), s.idx, true
  while low < high do
    local share = likely and math.min(1, math.max(0, (number - low_number) / (high_number - low_number + 1))) or 0.5
    local try = low + math.max(1, math.ceil((high - low) * share))
    local entry = redis.call('XRANGE', s.log, string.format('%.0f', try), '+', 'COUNT', 1)[1]
    local found = entry and idx_of(s, entry) or math.huge
    if found <= number then
      low, low_number = tonumber(string.match(entry[1], '^%d+')), found
    else
      high, high_number = try - 1, math.min(high_number, found)
    end
    likely, left = not likely, left - 3
  end
  return low
end

-- Like `oldest_new`. An unfiltered consumer of events may have its position only as a number; asking Redis for the id
-- takes a time that grows with the number of groups.
local function oldest_ahead(c, new)
  local by_number = not c.index and c.cursor == '' and new > 0 and not any_lapsed(s)
  return by_number and time_of_number(math.max(c.position, s.first - 1) + 1) or oldest_new(s, c, new)
end

-- Like `oldest_set_back`, but for a consumer with few retries it does not read the rows of other consumers.
local function oldest_waiting(c, after)
  local retries = redis.call('ZCARD', c.retry)
  if c.keyed or retries > RETRIES then
    left = left - 100
    return oldest_set_back(s, c, after)
  end
  left = left - retries / 2
  local oldest
  for _, member in ipairs(retries > 0 and redis.call('ZRANGE', c.retry, 0, -1) or {}) do
    oldest = older(oldest, time_of(member))
  end
  return oldest, ''
end

-- Like `expire`, and counts its work.
local function expire_counted(c)
  local dead = redis.call('XLEN', c.dead)
  if redis.call('EXISTS', c.deadlines, c.retry) > 0 then
    local due = redis.call('ZCOUNT', c.deadlines, '(0', s.now - c.ack_wait_ms)
      + redis.call('ZCOUNT', c.retry, '(0', s.now)
    left = left - 2 * due
  end
  local done = expire(s, c)
  c.num_dead = redis.call('XLEN', c.dead)
  left = left - 5 * (c.num_dead - dead)
  return done
end

local rows, looked, after = {}, 0, ARGV[1] ~= '' and ARGV[1] or nil
while looked < #ARGV - 1 and left > 0 do
  local name = ARGV[2 + looked]
  local c = open_consumer(s, name)
  if c then
    if not (ready(s, c) and expire_counted(c)) then
      if looked == 0 then return { 1 } end
      break
    end
    local oldest, go_on = oldest_waiting(c, after)
    after = go_on ~= '' and go_on or nil
    if after then break end
    oldest = older(oldest, oldest_ahead(c, num_new(s, c)))
    for _, value in ipairs({
      name, num_pending(s, c), num_ack_pending(s, c), num_retrying(s, c), c.num_dead, oldest or -1,
    }) do
      rows[#rows + 1] = value
    end
  end
  looked, left = looked + 1, left - 30
end
return { 0, num_messages(s), s.idx, looked, after or '', s.wall, unpack(rows) }
