-- redrive: make dead letters of this consumer deliverable again; their deliver count starts again.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: nacks
-- KEYS[1]  broker:{S}
-- ARGV     consumer; dry_run: 1 = only count; how many message ids; the ids; or, after 0 ids, a filter: limit ('' =
--          all), collection_id, reason ('' = any), after, a position ('' = from the first), up to, a position ('' = the
--          last one now)
-- returns  [again = 1]; or [redriven, gone: no longer in the stream, so their letters stay]; with a filter also the
--          position to continue after ('' = that was all), and up to
-- errors   CONSUMER_NOT_FOUND
-- cost     O(ids · log n), or what it looks at, as for dead_letters; it redrives 100 at most
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not (ready(s, c) and expire(s, c)) then return { 1 } end
local redriven, gone, seen = 0, 0, {}

local function redrive(dead_id, f)
  if #redis.call('XRANGE', s.log, f.id, f.id) == 0 then
    gone = gone + 1
    return nil
  end
  redriven = redriven + 1
  if ARGV[2] ~= '1' then
    -- The delivery number goes on growing, so that old tokens stay stale; all deliveries so far count as given back.
    local number = tonumber(f.number)
    put_back(s, c, f.id, number, number, f.last_delivered_at, f.last_nack_reason, 0)
    if c.keyed then wait_for_key(s, c, f.id) end
    redis.call('XDEL', c.dead, dead_id)
    redis.call('HDEL', c.dead_ids, f.id)
  end
  return true
end

for i = 4, 3 + ARGV[3] do
  local dead_id = not seen[ARGV[i]] and redis.call('HGET', c.dead_ids, ARGV[i])
  seen[ARGV[i]] = true
  if dead_id then redrive(dead_id, fields_of(redis.call('XRANGE', c.dead, dead_id, dead_id)[1])) end
end
local reply = { redriven, gone }
if ARGV[3] == '0' and ARGV[4] then
  local limit = math.min(100, tonumber(ARGV[4]) or 100)
  local _, go_on, last = page(c.dead, ARGV[7], ARGV[8], limit, math.huge, function(row)
    local f = letter_of(row, ARGV[5], ARGV[6])
    return f and redrive(row[1], f)
  end)
  reply = { redriven, gone, go_on, last }
end
if redriven > 0 and ARGV[2] ~= '1' then wake(s, c.name) end
return reply
