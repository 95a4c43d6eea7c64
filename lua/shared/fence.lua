-- fence: which of the deliveries named by tokens are the live ones, and taking them out.

-- The row of the PEL, {id, name, idle in ms, delivery number}, of each live delivery, by its place in the lists; each
-- message once. A number that is false names none. The ids of a batch lie together and come in order: then the rows of
-- the range are they, and all are live, which the second result tells. Else one range answers for most, and what it did not
-- reach is asked for one by one.
local function live_rows(s, c, ids, numbers)
  if #ids == 0 then return {} end
  local pending = redis.call('XPENDING', s.log, c.name, ids[1], ids[#ids], #ids)
  local same = #pending == #ids
  for i = 1, same and #ids or 0 do
    local p = pending[i]
    if p[1] ~= ids[i] or p[4] ~= numbers[i] then same = false break end
  end
  if same then return pending, true end

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

-- What an ack or a nack leaves behind: the rows out of the PEL, and a place under max_ack_pending for a waiting call. Of
-- acked messages the notes go too. Returns whether a waiting call was told.
local function take_out(s, c, ids, acked)
  if #ids == 0 then return true end
  redis.call('XACK', s.log, c.name, unpack(ids))
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
  return full
end

-- The deliveries of groups of tokens: per group epoch, delivery number, how many, the message ids. Returns the ids and
-- the numbers (false = of another epoch), and the position in ARGV behind the last group.
local function token_groups(c, args, at, groups)
  local ids, numbers, n = {}, {}, 0
  for _ = 1, groups do
    local number, count = args[at] == c.epoch and tonumber(args[at + 1]), tonumber(args[at + 2])
    for i = at + 3, at + 2 + count do
      n = n + 1
      ids[n], numbers[n] = args[i], number
    end
    at = at + 3 + count
  end
  return ids, numbers, at
end

-- Ack groups of tokens. Returns the ids of the acked messages, the positions of the stale tokens, the position behind the
-- last group, and how many tokens there were. The caller frees the keys that the messages held.
local function ack_tokens(s, c, args, at, groups)
  local ids, numbers, behind = token_groups(c, args, at, groups)
  local live, all = live_rows(s, c, ids, numbers)
  local acked, stale = all and ids or {}, {}
  for i = 1, all and 0 or #ids do
    if live[i] then acked[#acked + 1] = ids[i] else stale[#stale + 1] = i end
  end
  take_out(s, c, acked, true)
  return acked, stale, behind, #ids
end
