-- peek: the next messages, without delivering them.
-- uses: filters entries holding ordering keys schedule upkeep positions counts fence delivery
-- KEYS[1]  broker:{S}
-- ARGV     consumer; limit
-- returns  [behind = 1], or [0, then 5 a message as next gives them; its delivery number is the one that it would get]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(limit); of a consumer with many busy keys, at most 3000 messages are looked at
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local limit, now = tonumber(ARGV[2]), now_ms()
if not ready(s, c, now) then return { 1 } end
local reply = { 0 }

local function show(entry, number, given_back)
  local head, body = content_of(s, entry)
  for _, value in ipairs({ entry[1], number, number - given_back, head, body }) do reply[#reply + 1] = value end
end

-- Messages behind the cursor in stream order, with their bodies.
local function entries_ahead(s, c, limit)
  if not c.index then return entries_behind(s.log, cursor_of(s, c), limit) end
  local entries = {}
  for _, member in ipairs(redis.call('ZRANGEBYLEX', c.index, '(' .. sortable(c.cursor), '+', 'LIMIT', 0, limit)) do
    local id = stream_id(member)
    entries[#entries + 1] = redis.call('XRANGE', s.log, id, id)[1]
  end
  return entries
end

sweep_dead(s, c, now)
local rows = expired(s, c, now, limit)
promote(c.retry, now)
for _, member in ipairs(first_due(c.retry, limit)) do
  local id = stream_id(member)
  rows[#rows + 1] = { id = id, member = member, count = note_of(c, id) }
end
table.sort(rows, function(a, b) return a.member < b.member end)
for i = 1, math.min(limit, #rows) do
  local entry = redis.call('XRANGE', s.log, rows[i].id, rows[i].id)[1]
  local _, given_back = note_of(c, rows[i].id)
  if entry then show(entry, rows[i].count + 1, given_back) end
end
-- New ones, passing over those whose key is busy or whose time to live is over.
local left, shown, looked = limit - (#reply - 1) / 5, {}, 0
local wanted = math.max(left, 50)
while left > 0 and looked < ROWS_A_CALL do
  local entries = entries_ahead(s, c, wanted)
  for _, entry in ipairs(entries) do
    local key = c.keyed and key_of(s, entry) or ''
    local free = key == '' or not shown[key] and redis.call('SISMEMBER', s.key .. ':busy:' .. c.name, key) == 0
    if left > 0 and free and not (s.schedules and has_lapsed(s, entry[1])) then
      show(entry, 1, 0)
      left, shown[key] = left - 1, true
    end
    c.cursor = entry[1]
  end
  looked = looked + #entries
  if #entries < wanted then break end
end
return reply
