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

-- What an ack or a nack leaves behind: the rows of ids[from] to ids[to] out of the PEL, and a place under max_ack_pending for a
-- waiting call. Of acked messages the notes go too. Returns whether a waiting call was told.
local function take_out(s, c, ids, from, to, acked)
  if to < from then return true end
  redis.call('XACK', s.log, c.name, unpack(ids, from, to))
  if redis.call('EXISTS', c.deadlines, acked and c.notes or c.deadlines) > 0 then
    local members = {}
    for i = from, to do members[#members + 1] = sortable(ids[i]) end
    redis.call('ZREM', c.deadlines, unpack(members))
    if acked then redis.call('HDEL', c.notes, unpack(ids, from, to)) end
  end
  local full = c.full
  if full then
    redis.call('HDEL', c.key, 'full')
    c.full = nil
    wake(s, c.name)
  end
  return full
end

-- Tokens come in groups of one epoch and delivery number: epoch, number, how many, the message ids. A group that begins at a
-- position of the arguments: its number (false = it is of another epoch), and the positions of its first and last id.
local function group_at(c, args, at)
  return args[at] == c.epoch and tonumber(args[at + 1]), at + 3, at + 2 + args[at + 2]
end

-- The ids of a group, and its number for each.
local function group_ids(args, number, from, to)
  local numbers = {}
  for i = 1, to - from + 1 do numbers[i] = number end
  return { unpack(args, from, to) }, numbers
end

-- Whether a group is a run of rows of the PEL, as the batch is that a caller was given and acks: then all are live.
local function is_run(s, c, args, number, from, to)
  local pending = number and redis.call('XPENDING', s.log, c.name, args[from], args[to], to - from + 1) or {}
  if #pending ~= to - from + 1 then return false end
  for i, p in ipairs(pending) do
    if p[1] ~= args[from + i - 1] or p[4] ~= number then return false end
  end
  return true
end

-- Ack groups of tokens from a position of the arguments on, one after the other, so a message is acked once. `freed` is
-- called with the ids that were: those from the one to the other position of a list. Returns how many were, the positions of the
-- stale tokens among all, the position behind the last group, and how many tokens there were.
local function ack_tokens(s, c, args, at, groups, freed)
  local count, stale, tokens = 0, {}, 0
  for _ = 1, groups do
    local number, from, to = group_at(c, args, at)
    local ids, first, last = args, from, to
    if not is_run(s, c, args, number, from, to) then
      local given, numbers = group_ids(args, number, from, to)
      local live = live_rows(s, c, given, numbers)
      ids, first, last = {}, 1, 0
      for i, id in ipairs(given) do
        if live[i] then
          last = last + 1
          ids[last] = id
        else
          stale[#stale + 1] = tokens + i
        end
      end
    end
    take_out(s, c, ids, first, last, true)
    if freed then freed(s, c, ids, first, last) end
    count, tokens, at = count + last - first + 1, tokens + to - from + 1, to + 1
  end
  return count, stale, at, tokens
end
