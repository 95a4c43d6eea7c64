-- leftovers: rows of `retrying` that a deleted or reset consumer leaves. They mean nothing without its own keys.
--
--   broker:{S}:left    zset  "N name", score = N
--   broker:{S}:left:N  zset  what was `retry` or `queue` of that name: the rows that have yet to go
local ROWS_SWEPT = 200

-- A consumer ends, or begins again: nothing waits for it any more.
local function leave_rows(s, name)
  for _, set in ipairs({ KEY.retry, KEY.queue }) do
    if redis.call('EXISTS', s.key .. set .. name) == 1 then
      local number = redis.call('HINCRBY', s.key, 'left', 1)
      redis.call('RENAME', s.key .. set .. name, s.key .. KEY.left_of .. number)
      redis.call('ZADD', s.key .. KEY.left, number, number .. ' ' .. name)
    end
  end
end

-- One step: removes leftover rows, except those that a new consumer of the name has too. True: nothing is left.
local function sweep(s)
  local of = redis.call('ZRANGE', s.key .. KEY.left, 0, 0)[1]
  if not of then return true end
  local number, name = string.match(of, '^(%d+) (.*)$')
  local left, ids, rows = s.key .. KEY.left_of .. number, {}, {}
  local members = redis.call('ZRANGE', left, 0, ROWS_SWEPT - 1)
  for i, member in ipairs(members) do
    local length = string.match(member, '^%d+') -- of the ordering key: a row of a queue
    if length then members[i] = string.sub(member, #length + length + 3) end
    ids[i] = stream_id(members[i])
  end
  if #members > 0 then
    local due = redis.call('ZMSCORE', s.key .. KEY.retry .. name, unpack(members))
    local parked = redis.call('HMGET', s.key .. KEY.parked .. name, unpack(ids))
    for i, member in ipairs(members) do
      if not due[i] and not parked[i] then rows[#rows + 1] = member .. ':' .. name end
    end
    if #rows > 0 then redis.call('ZREM', s.key .. KEY.retrying, unpack(rows)) end
    redis.call('ZREMRANGEBYRANK', left, 0, ROWS_SWEPT - 1)
  end
  if #members == ROWS_SWEPT then return false end
  redis.call('ZREM', s.key .. KEY.left, of)
  return redis.call('EXISTS', s.key .. KEY.left) == 0
end

