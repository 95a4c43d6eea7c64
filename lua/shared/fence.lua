-- fence: which of the deliveries named by tokens are the live ones, and taking them out.

-- The row of the PEL, {id, name, idle in ms, delivery number}, of each live delivery, by its place in the lists; each
-- message once. A number that is false names none. One range answers for most, and what it did not reach is asked for
-- one by one.
local function live_rows(s, c, ids, numbers)
  local low, high
  for i, id in ipairs(ids) do
    local row = numbers[i] and { member = sortable(id), id = id }
    if row and (not low or row.member < low.member) then low = row end
    if row and (not high or row.member > high.member) then high = row end
  end
  local out, live = {}, {}
  if not low then return live end
  for _, p in ipairs(redis.call('XPENDING', s.log, c.name, low.id, high.id, 2 * #ids)) do out[p[1]] = p end
  for i, id in ipairs(ids) do
    local number, p = numbers[i], out[id]
    if number and p == nil then p = redis.call('XPENDING', s.log, c.name, id, id, 1)[1] end
    if p and p[4] == number then live[i], out[id] = p, false end
  end
  return live
end

-- What an ack or a nack leaves behind: the rows of the ids out of the PEL, and a place under max_ack_pending for a waiting call.
-- Of acked messages the notes go too. Returns how many rows there were, and whether a waiting call was told.
local function take_out(s, c, ids, acked)
  if #ids == 0 then return 0, true end
  local count = redis.call('XACK', s.log, c.name, unpack(ids))
  if redis.call('EXISTS', c.deadlines, acked and c.notes or c.deadlines) > 0 then
    local members = {}
    for i, id in ipairs(ids) do members[i] = sortable(id) end
    redis.call('ZREM', c.deadlines, unpack(members))
    if acked then redis.call('HDEL', c.notes, unpack(ids)) end
  end
  local full = c.full
  if full then
    redis.call('HDEL', c.key, 'full')
    c.full = nil
    wake(s, c.name)
  end
  return count, full
end

-- Whether a stamp, the last part of a token, is of the consumer's epoch.
local function is_current(c, stamp)
  return stamp >= c.epoch and stamp <= c.stamp
end

-- Tokens come in groups of one stamp and delivery number, three arguments each: stamp, number, the message ids as a JSON
-- list. Of the group at a position: its stamp, its number (false = it is of another epoch), the ids.
local function group_at(c, args, at)
  return args[at], is_current(c, args[at]) and tonumber(args[at + 1]), cjson.decode(args[at + 2])
end
