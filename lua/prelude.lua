-- prelude: stands before every command. The clock, the ids, the key names, and how a stream and a consumer are opened.
--
-- What exists. A stream S is a log of entries and its side keys; all carry the hash tag {S}, so one Redis Cluster slot
-- holds them, and every script takes the one key `broker:{S}` from which the others derive. A consumer C is the
-- consumer group C on the log: the group's pending list (PEL) is the truth of what is out. Side keys only index what
-- the PEL and the log cannot answer:
--
--   broker:{S}                 hash    kind, limits, idx and seen (the number and the id of the last counted message),
--                                      first (the number of the first entry that the limits have left)
--   broker:{S}:log             stream  entries: head, body (shared/entries.lua)
--   broker:{S}:records         hash    record id -> "entry-id inserted_at upstream_updated_us digest"
--   broker:{S}:dedupe[:old]    hash    event id -> "entry-id time": this and the previous dedupe window
--   broker:{S}:plain           zset    ids of entries added by a plain XADD, score = their idx
--   broker:{S}:filters         hash    filters in use: F, F:uses, and while it is built F:at, F:until
--   broker:{S}:routes          hash    term of a filter -> the filters that it may match
--   broker:{S}:index:F         zset    ids of the entries that filter F matches (`all`: every record)
--   broker:{S}:keys            stream  the keys of new events: shared/keys.lua
--   broker:{S}:delayed         zset    tickets of events that are to be appended later, score = when
--   broker:{S}:delayed-events  hash    ticket -> the event: arguments of its append as a JSON list
--   broker:{S}:ttl             zset    ids of events with a time to live, score = when it is over
--   broker:{S}:lapsed          zset    ids of events whose time to live is over
--   broker:{S}:mark:M          string  left by a publish that is waited for (shared/durable.lua); ends by itself
--   broker:{S}:consumers       set     names
--   broker:{S}:wake            stream  names of consumers with something to deliver that the log does not tell
--   broker:{S}:retrying        zset    "id:consumer" of all that lies in a retry set or is parked
--   broker:{S}:consumer:C      hash    configuration, epoch and last stamp, cursor, position, sweep position
--   broker:{S}:gate:C          stream  there between a `read` and the XREADGROUP that follows it in a transaction: lets it pass
--   broker:{S}:retry:C         zset    nacked messages, score = time due, 0 = now. Not in the PEL while here
--   broker:{S}:deadlines:C     zset    out rows that do not expire in stream order, score = when their ack wait began, 0 = over
--   broker:{S}:leases:C        hash    stamp of a batch -> how many messages; `out`: shared/leases.lua
--   broker:{S}:notes:C         hash    id -> "delivery-number given-back reason" of nacked messages
--   broker:{S}:busy:C          set     of a consumer with ordering key, as are held, parked and queue: shared/holding.lua
--   broker:{S}:held:C          hash
--   broker:{S}:parked:C        zset
--   broker:{S}:queue:C         zset
--   broker:{S}:dead:C          stream  dead letters
--   broker:{S}:dead-ids:C      hash    message id -> id in broker:{S}:dead:C

-- The only clock: Redis' own, in ms. Tests replace this one function.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A batch of so many messages is leased (shared/leases.lua): of fewer the rows are as quickly looked at. Tests lease all.
local LEASED = 20

-- Ids inside zsets: each number is led by a letter for its length, so that byte order is stream order.
local function sortable(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return string.char(64 + #ms) .. ms .. string.char(64 + #seq) .. seq
end

local function stream_id(member)
  local length = string.byte(member) - 64
  return string.sub(member, 2, length + 1) .. '-' .. string.sub(member, length + 3)
end

-- One less, of digits: the numbers of an id have 64 bits, those of Lua 53.
local function one_less(digits)
  local head, last, zeros = string.match(digits, '^(%d-)([1-9])(0*)$')
  local less = head .. string.char(string.byte(last) - 1) .. string.rep('9', #zeros)
  return string.match(less, '^0*(%d+)$')
end

-- The greatest id before this one: what a group's cursor must be for this one to be the next.
local function id_before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if string.find(seq, '[1-9]') then return ms .. '-' .. one_less(seq) end
  if not string.find(ms, '[1-9]') then return '0-0' end
  return one_less(ms) .. '-18446744073709551615'
end

-- Entries of a stream behind an id. Nothing is behind the greatest id, which Redis takes for a fault.
local GREATEST = '18446744073709551615-18446744073709551615'
local function entries_behind(stream, id, count)
  if id == GREATEST then return {} end
  return redis.call('XRANGE', stream, '(' .. id, '+', 'COUNT', count)
end

-- A stream, or nil where there is none.
local function open_stream(key)
  local f = redis.call('HMGET', key, 'kind', 'idx', 'seen', 'max_messages', 'max_age_ms', 'dedupe_window_ms', 'schedules',
    'first', 'replicas', 'fsync', 'keyed', 'strays')
  if not f[1] then return nil end
  return {
    key = key, log = key .. ':log', kind = f[1], idx = tonumber(f[2]), seen = f[3],
    max_messages = tonumber(f[4] or ''), max_age_ms = tonumber(f[5] or ''), dedupe_window_ms = tonumber(f[6] or ''),
    schedules = f[7], first = tonumber(f[8] or 1), replicas = tonumber(f[9] or ''), fsync = f[10] == '1', keyed = f[11], strays = f[12],
  }
end

-- A consumer of the stream, or nil. `index` is what counts its messages; `filtered` tells that it also reads by it.
-- Without an index `position` counts: the number of the last entry behind it; `cursor`, its id, may be '' = ask the group.
local function open_consumer(s, name)
  if not s then return nil end
  local key = s.key .. ':consumer:' .. name
  local f = redis.call('HMGET', key, 'epoch', 'filter', 'cursor', 'sweep', 'sweep_at', 'synced_at', 'ack_wait_ms',
    'max_deliver', 'max_ack_pending', 'backoff_ms', 'full', 'start', 'max_waiting', 'paused_until', 'ordering',
    'verify_from', 'verified_at', 'position', 'stamp')
  if not f[1] then return nil end
  local backoff = {}
  for delay in string.gmatch(f[10], '%d+') do backoff[#backoff + 1] = tonumber(delay) end
  local index
  if f[2] ~= '' then index = s.key .. ':index:' .. f[2]
  elseif s.kind == 'records' then index = s.key .. ':index:all' end
  return {
    key = key, name = name, epoch = f[1], filter = f[2], filtered = f[2] ~= '', index = index,
    cursor = f[3], sweep = f[4], sweep_at = tonumber(f[5]), synced_at = tonumber(f[6]),
    ack_wait_ms = tonumber(f[7]), max_deliver = tonumber(f[8]), max_ack_pending = tonumber(f[9]),
    backoff = backoff, full = f[11], start = f[12], max_waiting = tonumber(f[13]),
    paused_until = f[14] == 'inf' and math.huge or tonumber(f[14] or '') or 0,
    keyed = f[15] == 'key', verify_from = f[16] or '0', verified_at = tonumber(f[17] or 0),
    position = tonumber(f[18] or 0), stamp = f[19] or f[1],
    retry = s.key .. ':retry:' .. name, deadlines = s.key .. ':deadlines:' .. name,
    notes = s.key .. ':notes:' .. name, dead = s.key .. ':dead:' .. name, dead_ids = s.key .. ':dead-ids:' .. name,
  }
end

-- As much of both as an ack needs. A consumer that exists has a stream.
local function open_settling(key, name)
  local s, c = { key = key, log = key .. ':log' }, key .. ':consumer:' .. name
  local f = redis.call('HMGET', c, 'epoch', 'full', 'ordering', 'stamp')
  if not f[1] then return s, nil end
  return s, { key = c, name = name, epoch = f[1], full = f[2], keyed = f[3] == 'key', stamp = f[4] or f[1],
    deadlines = key .. ':deadlines:' .. name, notes = key .. ':notes:' .. name }
end

-- A Redis at its memory limit refuses the first write of a script where it may grow, and lets a script go on whose first one
-- frees. So that workers can drain it, what reads and delivers begins with one.
local function free_first(s)
  if not s.frees_first then redis.call('HDEL', s.key, '') end
  s.frees_first = true
end

-- What is kept of a nacked message until it is acked: its delivery number, how many deliveries do not count, the reason.
local function note_of(c, id)
  local note = redis.call('HGET', c.notes, id)
  if not note then return 0, 0, '' end
  local number, given_back, reason = string.match(note, '^(%d+) (%d+) (.*)$')
  return tonumber(number), tonumber(given_back), reason
end

-- Tell the servers' waiting reads that this consumer may have something that its log does not show.
local function wake(s, name)
  redis.call('XADD', s.key .. ':wake', 'MAXLEN', '~', 100, '*', 'consumer', name)
end
