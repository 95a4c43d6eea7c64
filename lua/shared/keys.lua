-- keys: the keys of new events, kept beside the log while an unfiltered consumer with ordering by key needs them, so that `read` can
-- tell which are free without the messages themselves.
--
--   broker:{S}:keys   stream  an entry for up to 100 events that were appended together: its id is "number of the last
--                             event"-"how many events", its field `k` has a line for each, "message id key"
--
-- It may have gaps (events from before there was such a consumer, or of plain clients): those come through `next`.

local LINES = 100

local function note_key(s, id, body)
  s.lines = s.lines or {}
  s.lines[#s.lines + 1] = id .. ' ' .. key_in(s.kind, body) .. '\n'
end

-- Write down what was noted: the events up to number s.idx, which Redis has by now.
local function write_keys(s)
  local lines = s.lines or {}
  for from = 1, #lines, LINES do
    local to = math.min(from + LINES - 1, #lines)
    local text = table.concat(lines, '', from, to)
    local _, breaks = string.gsub(text, '\n', '')
    if breaks == to - from + 1 then
      redis.call('XADD', s.key .. ':keys', string.format('%.0f-%d', s.idx - #lines + to, to - from + 1), 'k', text)
    end
  end
  s.lines = nil
end

-- A consumer that needs the keys begins or ends.
local function use_keys(s, by)
  if redis.call('HINCRBY', s.key, 'keyed', by) > 0 then return end
  redis.call('HDEL', s.key, 'keyed')
  redis.call('UNLINK', s.key .. ':keys')
end
