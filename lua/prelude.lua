-- prelude: stands before every command. The clock, the ids, and how a stream and a consumer are opened.

-- The only clock: Redis' own, in ms. Tests replace this one function.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- An answer with messages stops before so many bytes, but gives at least one message (C54). A server may set another number.
local MAX_ANSWER_BYTES = 8388608
-- What a message has in an answer beside its body, at most.
local MESSAGE_BYTES = 640

-- How many messages may be read at once, so that an answer of so many bytes at most can hold them; at least 1.
local function fitting(s, bytes, most)
  return math.max(1, math.min(most, math.floor(bytes / (s.largest + MESSAGE_BYTES))))
end

-- Ids inside zsets: each number is led by a letter for its length, so that byte order is stream order.
local function sortable(id)
  local dash = string.find(id, '-', 1, true)
  return string.char(63 + dash) .. string.sub(id, 1, dash - 1) .. string.char(64 + #id - dash) .. string.sub(id, dash + 1)
end

local function stream_id(member)
  local length = string.byte(member) - 64
  return string.sub(member, 2, length + 1) .. '-' .. string.sub(member, length + 3)
end

-- Entries of a stream behind an id. Nothing is behind the greatest id, which Redis takes for a fault.
local GREATEST = '18446744073709551615-18446744073709551615'
local function entries_behind(stream, id, count)
  if id == GREATEST then return {} end
  return redis.call('XRANGE', stream, '(' .. id, '+', 'COUNT', count)
end

-- A stream's time, `s.now`, never goes back: where Redis' clock (`s.wall`) steps back, the stream's time keeps the lead that it
-- has then. Ack waits, delays and windows are measured in it; dates that a caller names are compared with `s.wall`.
-- broker:{S} clock = "time lead steps": the time when it was last kept, the lead, and how often the clock has stepped back.
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

-- A stream, or nil where there is none.
local function open_stream(key)
  local f = redis.call('HMGET', key, 'kind', 'idx', 'seen', 'max_messages', 'max_age_ms', 'dedupe_window_ms', 'schedules',
    'first', 'replicas', 'fsync', 'strays', 'clock', 'largest', 'dropping')
  if not f[1] then return nil end
  local s = {
    key = key, log = key .. KEY.log, kind = f[1], idx = tonumber(f[2]), seen = f[3],
    max_messages = tonumber(f[4] or ''), max_age_ms = tonumber(f[5] or ''), dedupe_window_ms = tonumber(f[6] or ''),
    schedules = f[7], first = tonumber(f[8] or 1), replicas = tonumber(f[9] or ''), fsync = f[10] == '1', strays = f[11],
    largest = tonumber(f[13] or 1048576), dropping = f[14],
  }
  open_clock(s, f[12])
  return s
end

-- A consumer of the stream, or nil. `index` is what counts its messages; `filtered` tells that it also reads by it.
-- Without an index `position` counts: the number of the last entry before its next one; `cursor`, that entry's id, may be '' = ask the group.
-- `stepped`: the step of Redis' clock that it has noticed, when, and where the group stood (shared/consumer_upkeep.lua).
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
    keyed = f[15] == 'key', verify_from = f[16] or '0', verified_at = tonumber(f[17] or 0), position = tonumber(f[18] or 0),
    steps = tonumber(steps or 0), stepped_at = tonumber(stepped_at), stepped_id = stepped_id, recheck = f[20],
    retry = s.key .. KEY.retry .. name, fresh = s.key .. KEY.fresh .. name, deadlines = s.key .. KEY.deadlines .. name, firsts = s.key .. KEY.firsts .. name,
    notes = s.key .. KEY.notes .. name, dead = s.key .. KEY.dead .. name, dead_ids = s.key .. KEY.dead_ids .. name,
  }
  c.kept = { sweep = c.sweep, sweep_at = c.sweep_at }
  return c
end

-- As much of both as an ack needs. A consumer that exists has a stream.
local function open_settling(key, name)
  local s, c = { key = key, log = key .. KEY.log }, key .. KEY.consumer .. name
  local f = redis.call('HMGET', c, 'epoch', 'full', 'ordering')
  if not f[1] then return s, nil end
  return s, { key = c, name = name, epoch = f[1], full = f[2], keyed = f[3] == 'key', deadlines = key .. KEY.deadlines .. name,
    firsts = key .. KEY.firsts .. name, notes = key .. KEY.notes .. name }
end

-- What every command begins with but those that store messages, streams or consumers. A Redis at its memory limit refuses
-- the first write of a script where it may grow, and lets a script go on whose first one frees: so workers can drain it.
local function free_first(s)
  if not s.frees_first then redis.call('HDEL', s.key, '') end
  s.frees_first = true
  keep_clock(s)
end

-- Both, for a command that frees, or nil where the consumer does not exist.
local function enter(key, name)
  local s = open_stream(key)
  local c = open_consumer(s, name)
  if c then free_first(s) end
  return s, c
end

-- Our workers read under names of their own in the group: `http`, or `http:` and the name that a worker gave (C59).
local OURS = 'http'

local function is_ours(reader)
  return reader == OURS or string.sub(reader, 1, 5) == 'http:'
end

-- The worker who reads under a name of the group, '' = ours without a name; a plain client has its own.
local function worker_of(reader)
  return reader == OURS and '' or string.match(reader, '^http:(.*)$') or reader
end

-- What is kept of a nacked message until it is acked: its delivery number, how many deliveries do not count, the reason, when it
-- was delivered, and from when it may be delivered again (both by Redis' clock).
local function note_of(c, id)
  local note = redis.call('HGET', c.notes, id)
  if not note then return 0, 0, '' end
  local number, given_back, delivered_at, due_at, reason = string.match(note, '^(%d+) (%d+)@(%d+),(%d+) (.*)$')
  return tonumber(number), tonumber(given_back), reason, tonumber(delivered_at), tonumber(due_at)
end

-- Tell the servers' waiting reads that this consumer may have something that its log does not show.
local function wake(s, name)
  redis.call('XADD', s.key .. KEY.wake, 'MAXLEN', '~', 100, '*', 'consumer', name)
end
