-- message: one message of a stream, and its state for some of the stream's consumers.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: ahead
-- KEYS[1]  broker:{S}
-- ARGV     message id; consumers' names, or none: then the reply is the message itself
-- returns  [again = 1]; without names [0, head, body, all names, sorted]; else the reply, without consumers that do not
--          exist. state: filtered, before_start, new, out, retrying, blocked, done, dead. `out` has worker,
--          deliver_count, delivered_at and expires_at, `retrying` due_at and reason, `dead` reason; other values are ''
--          or -1. Times in ms
-- reply    again / consumer state worker deliver_count delivered_at expires_at due_at reason
-- errors   STREAM_NOT_FOUND, MESSAGE_NOT_FOUND
-- cost     O(names · log n)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local id = ARGV[1]
local entry = redis.call('XRANGE', s.log, id, id)[1]
if not entry or s.kind == 'records' and is_plain(s, entry) then
  return redis.error_reply('MESSAGE_NOT_FOUND no such message')
end
if not ARGV[2] then
  local names = redis.call('SMEMBERS', s.key .. KEY.consumers)
  table.sort(names)
  local head, body = content_of(s, entry)
  return { 0, head, body, names }
end

local member, place = sortable(id), nil
local function is_match(c)
  place = place or place_of(routing_fields(s, entry))
  for _, filter in ipairs(filters_of(s, place)) do
    if filter == c.filter then return true end
  end
end

local function state_of(c)
  local p, read_at = redis.call('XPENDING', s.log, c.name, id, id, 1)[1], now_ms()
  local number, given_back, reason, _, due_at = note_of(c, id)
  if p then
    local delivered_at, expires_at = times_out(s, c, p, p[4] - given_back, read_at)
    return { 'out', worker_of(p[2]), p[4] - given_back, delivered_at, expires_at, -1, '' }
  end
  if c.keyed and redis.call('HEXISTS', s.key .. KEY.parked .. c.name, id) == 1 then return { 'blocked' } end
  if redis.call('ZSCORE', c.retry, member) then
    if not due_at then return { 'new' } end -- its key became free
    return { 'retrying', '', number - given_back, -1, -1, due_at, reason }
  end
  local dead_id = redis.call('HGET', c.dead_ids, id)
  if dead_id then
    local letter = fields_of(redis.call('XRANGE', c.dead, dead_id, dead_id)[1])
    return { 'dead', '', tonumber(letter.deliver_count), -1, -1, -1, letter.reason }
  end
  if c.filtered and not is_match(c) then return { 'filtered' } end
  if member <= sortable(redis.call('HGET', c.key, 'began') or '0-0') then return { 'before_start' } end
  if member <= sortable(cursor_of(s, c)) or has_lapsed(s, id) then return { 'done' } end
  return { is_blocked(s, c, key_of(s, entry)) and 'blocked' or 'new' }
end

local reply = { 0 }
for i = 2, #ARGV do
  local c = open_consumer(s, ARGV[i])
  if c and not redis.pcall('XPENDING', s.log, c.name).err then -- else a plain client has destroyed its group
    if not (ready(s, c) and expire(s, c)) then return { 1 } end
    local state = state_of(c)
    for k, default in ipairs({ '', '', -1, -1, -1, -1, '' }) do state[k] = state[k] or default end
    reply[#reply + 1] = c.name
    for _, value in ipairs(state) do reply[#reply + 1] = value end
  end
end
return reply
