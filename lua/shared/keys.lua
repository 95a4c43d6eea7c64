-- keys: the keys of new events, kept beside the log while an unfiltered consumer with ordering by key needs them, so that `read` can
-- tell which are free without the messages themselves.
--
--   broker:{S}:keys   stream  an entry for up to 100 events that were appended together: its id is "number of the last
--                             event"-"how many events", its field `k` a MessagePack list: message id, key, message id, key, ...
--
-- It may have gaps (events from before there was such a consumer, or of plain clients): those come through `next`.

local EVENTS = 100

local function note_key(s, id, body)
  local noted = s.noted or {}
  local n = #noted
  s.noted, noted[n + 1], noted[n + 2] = noted, id, key_in(s.kind, body)
end

-- Write down what was noted: the events up to number s.idx, which Redis has by now.
local function write_keys(s)
  local noted = s.noted or {}
  local last = s.idx - #noted / 2
  for from = 1, #noted, 2 * EVENTS do
    local list = { unpack(noted, from, math.min(from + 2 * EVENTS - 1, #noted)) }
    last = last + #list / 2
    redis.call('XADD', s.key .. ':keys', string.format('%.0f-%d', last, #list / 2), 'k', cmsgpack.pack(list))
  end
  s.noted = nil
end

-- A consumer that needs the keys begins or ends.
local function use_keys(s, by)
  if redis.call('HINCRBY', s.key, 'keyed', by) > 0 then return end
  redis.call('HDEL', s.key, 'keyed')
  redis.call('UNLINK', s.key .. ':keys')
end
