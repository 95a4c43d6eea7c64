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
-- Of acked messages the notes go too. Returns whether a waiting call was told.
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

-- Tokens come in groups of one epoch and delivery number, four arguments each: epoch, number, how many, the message ids with a
-- space between them. Of the group at a position: its number (false = it is of another epoch), how many, the ids.
local function group_at(c, args, at)
  return args[at] == c.epoch and tonumber(args[at + 1]), tonumber(args[at + 2]), args[at + 3]
end

-- Add the ids of a group to a list, and its number for each to another.
local function add_group(ids, numbers, number, joined)
  for id in string.gmatch(joined, '[^ ]+') do
    ids[#ids + 1] = id
    numbers[#ids] = number
  end
end

-- The ids of a group where they are a run of rows of the PEL, as the batch is that a caller was given and acks: then all are
-- live. Else nil. The list is not taken apart for that: an id has at most 41 characters, by which its last one is found.
local function run_of(s, c, number, count, joined)
  if not number then return nil end
  local first, last, ids = string.match(joined, '^[^ ]*'), string.match(string.sub(joined, -41), '[^ ]*$'), {}
  for i, p in ipairs(redis.call('XPENDING', s.log, c.name, first, last, count)) do
    if p[4] ~= number then return nil end
    ids[i] = p[1]
  end
  return table.concat(ids, ' ') == joined and ids or nil
end

-- Ack groups of tokens from a position of the arguments on, one after the other, so a message is acked once. `freed` is
-- called with the ids that were. Returns how many were, the positions of the stale tokens among all, and how many tokens
-- there were.
local function ack_tokens(s, c, args, at, groups, freed)
  local count, stale, tokens = 0, {}, 0
  for group = 0, groups - 1 do
    local number, many, joined = group_at(c, args, at + 4 * group)
    local all = run_of(s, c, number, many, joined)
    local ids = all
    if not all then
      local numbers = {}
      all, ids = {}, {}
      add_group(all, numbers, number, joined)
      local live = live_rows(s, c, all, numbers)
      for i, id in ipairs(all) do
        if live[i] then ids[#ids + 1] = id else stale[#stale + 1] = tokens + i end
      end
    end
    take_out(s, c, ids, true)
    if freed then freed(s, c, ids) end
    count, tokens = count + #ids, tokens + #all
  end
  return count, stale, tokens
end
