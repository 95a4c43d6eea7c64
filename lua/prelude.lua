-- prelude: begins every script. The clock, ids, and how to open a stream and a consumer.

-- The only clock: Redis' own, in ms. Tests replace this one function.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A reply with messages ends before this size, but has at least one message (C54). A server may set another number.
local MAX_ANSWER_BYTES = 8388608
-- What a message adds to a reply besides its body, at most.
local MESSAGE_BYTES = 640

-- How many messages, at most `most`, may be read at once so that they fit into these bytes; at least 1.
local function fitting(s, bytes, most)
  return math.max(1, math.min(most, math.floor(bytes / (s.largest + MESSAGE_BYTES))))
end

-- Ids in zsets: a letter before each number gives its number of digits, so that byte order is stream order.
local function sortable(id)
  local dash = string.find(id, '-', 1, true)
  return string.char(63 + dash) .. string.sub(id, 1, dash - 1)
    .. string.char(64 + #id - dash) .. string.sub(id, dash + 1)
end

local function stream_id(member)
  local length = string.byte(member) - 64
  return string.sub(member, 2, length + 1) .. '-' .. string.sub(member, length + 3)
end

-- Entries of a stream after an id. Nothing is after the greatest id, and Redis rejects it as an exclusive start.
local GREATEST = '18446744073709551615-18446744073709551615'
local function entries_after(stream, id, count)
  if id == GREATEST then return {} end
  return redis.call('XRANGE', stream, '(' .. id, '+', 'COUNT', count)
end

-- A stream's time, `s.now`, never goes back: when Redis' clock (`s.wall`) steps back, the stream's time keeps the lead
-- that it has then. Ack waits, delays and windows are measured in it; dates that a caller gives are compared with
-- `s.wall`. broker:{S} clock = "time lead steps": the last time stored, the lead, and how often the clock stepped back.
local KEEP_MS = 10

local function open_clock(s, kept)
  local last, lead, steps = string.match(kept or '', '^(%d+) (%d+) (%d+)$')
  s.wall, s.lead, s.steps = now_ms(), tonumber(lead or 0), tonumber(steps or 0)
  last = tonumber(last or 0)
  if s.wall + s.lead < last then
    s.lead, s.steps, last = last - s.wall, s.steps + 1, 0
  end
  s.now = s.wall + s.lead
  s.ticked = s.now - last >= KEEP_MS
end

local function keep_clock(s)
  if s.ticked then redis.call('HSET', s.key, 'clock', string.format('%.0f %.0f %d', s.now, s.lead, s.steps)) end
  s.ticked = false
end

-- Returns nil if the stream does not exist.
local function open_stream(key)
  local f = redis.call('HMGET', key, 'kind', 'idx', 'seen', 'max_messages', 'max_age_ms', 'dedupe_window_ms',
    'schedules', 'first', 'replicas', 'fsync', 'strays', 'clock', 'largest', 'dropping')
  if not f[1] then return nil end
  local s = {
    key = key, log = key .. KEY.log, kind = f[1], idx = tonumber(f[2]), seen = f[3],
    max_messages = tonumber(f[4] or ''), max_age_ms = tonumber(f[5] or ''), dedupe_window_ms = tonumber(f[6] or ''),
    schedules = f[7], first = tonumber(f[8] or 1), replicas = tonumber(f[9] or ''), fsync = f[10] == '1',
    strays = f[11], largest = tonumber(f[13] or 1048576), dropping = f[14],
  }
  open_clock(s, f[12])
  return s
end

-- Returns nil if the consumer does not exist. `index`: the index that counts its messages; `filtered`: it also reads
-- from the index. Without an index `position` counts: the number of the last entry before its next one. `cursor`: the
-- id of that entry, '' = ask the group. `stepped`: the last step of Redis' clock that it noticed, when it noticed, and
-- where the group was then (shared/consumer_upkeep.lua).
local function open_consumer(s, name)
  if not s then return nil end
  local key = s.key .. KEY.consumer .. name
  local f = redis.call('HMGET', key, 'epoch', 'filter', 'cursor', 'sweep', 'sweep_at', 'synced_at', 'ack_wait_ms',
    'max_deliver', 'max_ack_pending', 'backoff_ms', 'full', 'start', 'max_waiting', 'paused_until', 'ordering',
    'verify_from', 'verified_at', 'position', 'stepped', 'recheck')
  if not f[1] then return nil end
  local backoff = {}
  for delay in string.gmatch(f[10], '%d+') do backoff[#backoff + 1] = tonumber(delay) end
  local index
  if f[2] ~= '' then index = s.key .. KEY.index .. f[2]
  elseif s.kind == 'records' then index = s.key .. KEY.index_all end
  local steps, stepped_at, stepped_id = string.match(f[19] or '', '^(%d+) (%d+) (%S+)$')
  local c = {
    key = key, name = name, epoch = f[1], filter = f[2], filtered = f[2] ~= '', index = index,
    cursor = f[3], sweep = f[4], sweep_at = tonumber(f[5]), synced_at = tonumber(f[6]),
    ack_wait_ms = tonumber(f[7]), max_deliver = tonumber(f[8]), max_ack_pending = tonumber(f[9]),
    backoff = backoff, full = f[11], start = f[12], max_waiting = tonumber(f[13]),
    paused = (f[14] == 'inf' and math.huge or tonumber(f[14] or '') or 0) > s.wall,
    keyed = f[15] == 'key', verify_from = f[16] or '0', verified_at = tonumber(f[17] or 0),
    position = tonumber(f[18] or 0),
    steps = tonumber(steps or 0), stepped_at = tonumber(stepped_at), stepped_id = stepped_id, recheck = f[20],
    retry = s.key .. KEY.retry .. name, fresh = s.key .. KEY.fresh .. name,
    deadlines = s.key .. KEY.deadlines .. name, firsts = s.key .. KEY.firsts .. name,
    notes = s.key .. KEY.notes .. name, dead = s.key .. KEY.dead .. name, dead_ids = s.key .. KEY.dead_ids .. name,
  }
  c.kept = { sweep = c.sweep, sweep_at = c.sweep_at }
  return c
end

-- As much of a stream and a consumer as an ack needs. A consumer that exists has a stream.
local function open_settling(key, name)
  local s, c = { key = key, log = key .. KEY.log }, key .. KEY.consumer .. name
  local f = redis.call('HMGET', c, 'epoch', 'full', 'ordering')
  if not f[1] then return s, nil end
  return s, { key = c, name = name, epoch = f[1], full = f[2], keyed = f[3] == 'key',
    deadlines = key .. KEY.deadlines .. name, firsts = key .. KEY.firsts .. name, notes = key .. KEY.notes .. name }
end

-- Every command begins with this, except those that store messages, streams, consumers or rows of a registry. At its
-- memory limit Redis refuses a script's first write if it may use more memory, and lets the script go on if it frees
-- some. So workers can drain a full Redis.
local function free_first(s)
  if not s.frees_first then redis.call('HDEL', s.key, '') end
  s.frees_first = true
  keep_clock(s)
end

-- Opens a stream and a consumer, for a command that frees first. The consumer is nil if it does not exist.
local function enter(key, name)
  local s = open_stream(key)
  local c = open_consumer(s, name)
  if c then free_first(s) end
  return s, c
end

-- Under which names our workers read in the group: `http`, or `http:` and the name that the worker gave (C59).
local OURS = 'http'

local function is_ours(reader)
  return reader == OURS or string.sub(reader, 1, 5) == 'http:'
end

-- The worker's own name for its name in the group: '' = ours without a name; a plain client has only one name.
local function worker_of(reader)
  return reader == OURS and '' or string.match(reader, '^http:(.*)$') or reader
end

-- What is kept of a nacked message until it is acked: its delivery number, how many deliveries do not count, the
-- reason, when it was delivered, and when it is due (both by Redis' clock). The same is kept of a delivery that was
-- extended and has expired; then it is the end of its ack wait.
local function note_of(c, id)
  local note = redis.call('HGET', c.notes, id)
  if not note then return 0, 0, '' end
  local number, given_back, delivered_at, due_at, reason = string.match(note, '^(%d+) (%d+)@(%d+),(%d+) (.*)$')
  return tonumber(number), tonumber(given_back), reason, tonumber(delivered_at), tonumber(due_at)
end

local function write_note(c, id, number, given_back, delivered_at, due_at, reason)
  -- The reason is not formatted: it may contain NUL.
  local numbers = string.format('%.0f %.0f@%.0f,%.0f ', number, given_back, delivered_at, due_at)
  redis.call('HSET', c.notes, id, numbers .. reason)
end

-- Wakes the servers' waiting reads: this consumer may have something to deliver that the log does not show.
local function wake(s, name)
  redis.call('XADD', s.key .. KEY.wake, 'MAXLEN', '~', 100, '*', 'consumer', name)
end
