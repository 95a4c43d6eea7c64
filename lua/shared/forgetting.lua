-- forgetting: how messages that have left the stream stop waiting for a retry or for their ordering key.
--
-- `retrying` lists, for every id, the consumers for which it waits.
-- One script forgets about 200 rows, even if more leave:
--
--   dropping (a field of broker:{S})  rows of removed entries are left, and nothing is counted until they are gone:
--                                     those before the first entry of an event stream, those of ids in a record
--                                     stream's `gone`
local ROWS_DROPPED = 200

local function member_bound(first)
  return first and '(' .. sortable(first[1]) or '+'
end

-- Forgets waiting messages, by rows of `retrying`, and frees the ordering keys that they hold.
local function forget_waiting(s, rows)
  if #rows == 0 then return end
  redis.call('ZREM', s.key .. KEY.retrying, unpack(rows))
  local waiting = {}
  for _, row in ipairs(rows) do
    local member, name = string.match(row, '^([^:]*):(.*)$')
    local of = waiting[name] or { members = {}, ids = {} }
    waiting[name], of.members[#of.members + 1], of.ids[#of.ids + 1] = of, member, stream_id(member)
  end
  for name, of in pairs(waiting) do
    local parked, retry, queued = s.key .. KEY.parked .. name, s.key .. KEY.retry .. name, {}
    redis.call('HDEL', s.key .. KEY.notes .. name, unpack(of.ids))
    redis.call('SREM', s.key .. KEY.fresh .. name, unpack(of.ids))
    for i, key in ipairs(redis.call('HMGET', parked, unpack(of.ids))) do
      if key then queued[#queued + 1] = queue_row(key, of.members[i]) end
    end
    if #queued > 0 then
      redis.call('HDEL', parked, unpack(of.ids))
      redis.call('ZREM', s.key .. KEY.queue .. name, unpack(queued))
    end
    local retries = #queued < #of.ids and redis.call('ZMSCORE', retry, unpack(of.members)) or {}
    if #retries > 0 then redis.call('ZREM', retry, unpack(of.members)) end
    for i, due in ipairs(retries) do
      if due then free_key(s, name, of.ids[i]) end
    end
  end
end

-- The rows of a message, at most `most` (-1 = all).
local function rows_of_message(s, member, most)
  return redis.call('ZRANGEBYLEX', s.key .. KEY.retrying, '[' .. member .. ':', '(' .. member .. ';', 'LIMIT', 0, most)
end

-- Forgets rows of records that have left the stream, in this order. Returns how many of the records have no row left.
local function drop_records(s, members)
  local rows, at = {}, 0
  while at < #members and #rows < ROWS_DROPPED do
    at = at + 1
    local found = rows_of_message(s, members[at], ROWS_DROPPED)
    for _, row in ipairs(found) do rows[#rows + 1] = row end
    if #found == ROWS_DROPPED then at = at - 1 end -- it may have more
  end
  forget_waiting(s, rows)
  return at
end

-- One step of it. True: no row of a removed entry is left.
local function drop_waiting(s)
  if not s.dropping then return true end
  local done
  if s.kind == 'events' then
    local bound = member_bound(first_entry(s))
    local rows = redis.call('ZRANGEBYLEX', s.key .. KEY.retrying, '-', bound, 'LIMIT', 0, ROWS_DROPPED)
    forget_waiting(s, rows)
    done = #rows < ROWS_DROPPED
  else
    local gone = redis.call('ZRANGE', s.key .. KEY.gone, 0, ROWS_DROPPED - 1)
    local count = drop_records(s, gone)
    if count > 0 then redis.call('ZREM', s.key .. KEY.gone, unpack(gone, 1, count)) end
    done = #gone < ROWS_DROPPED and count == #gone
  end
  if not done and s.dropping ~= '1' then redis.call('HSET', s.key, 'dropping', 1)
  elseif done and s.dropping == '1' then redis.call('HDEL', s.key, 'dropping') end
  s.dropping = not done and '1'
  return done
end

