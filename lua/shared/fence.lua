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

-- Groups of tokens, each of one epoch and delivery number: epoch, number, how many, the message ids. A group is what one
-- caller was given at once, so it is looked for by itself. Returns the ids, the rows of the live ones by their
-- place, each message once, the position in ARGV behind the last group, and whether all are live.
local function token_groups(s, c, args, at, groups)
  local ids, live, taken, all, n = {}, {}, {}, true, 0
  for _ = 1, groups do
    local number, count = args[at] == c.epoch and tonumber(args[at + 1]), tonumber(args[at + 2])
    local group, numbers = { unpack(args, at + 3, at + 2 + count) }, {}
    for i = 1, count do numbers[i] = number end
    local rows, whole = live_rows(s, c, group, numbers)
    at = at + 3 + count
    if groups == 1 then return group, rows, at, whole end
    for i, id in ipairs(group) do
      n = n + 1
      ids[n], live[n] = id, not taken[id] and rows[i] or false
      all, taken[id] = all and live[n], taken[id] or live[n]
    end
  end
  return ids, live, at, all
end

-- Ack groups of tokens. Returns the ids of the acked messages, the positions of the stale tokens, the position behind the
-- last group, and how many tokens there were. The caller frees the keys that the messages held.
local function ack_tokens(s, c, args, at, groups)
  local ids, live, behind, all = token_groups(s, c, args, at, groups)
  local acked, stale = all and ids or {}, {}
  for i = 1, all and 0 or #ids do
    if live[i] then acked[#acked + 1] = ids[i] else stale[#stale + 1] = i end
  end
  take_out(s, c, acked, true)
  return acked, stale, behind, #ids
end
