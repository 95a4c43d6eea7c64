-- fence: checks ack tokens, acks deliveries, and removes rows from the PEL.
--
-- A token is (epoch, message id, delivery number). It is live if all three equal what is stored: the epoch belongs only
-- to this life of this consumer, and a message's delivery number only grows within one life (docs/decisions/0020).

-- Rows of the PEL by id, each {id, name, idle in ms, delivery number}. One range finds most of them; each of the others
-- takes a call.
local function rows_of(s, c, ids)
  local low, high
  for _, id in ipairs(ids) do
    local row = { member = sortable(id), id = id }
    if not low or row.member < low.member then low = row end
    if not high or row.member > high.member then high = row end
  end
  local rows = {}
  if not low then return rows end
  for _, p in ipairs(redis.call('XPENDING', s.log, c.name, low.id, high.id, 2 * #ids)) do rows[p[1]] = p end
  for _, id in ipairs(ids) do
    rows[id] = rows[id] or redis.call('XPENDING', s.log, c.name, id, id, 1)[1]
  end
  return rows
end

-- The rows of live deliveries by their positions in the lists, each message once. A number that is false is not live.
local function live_rows(s, c, ids, numbers)
  local wanted, live = {}, {}
  for i, id in ipairs(ids) do
    if numbers[i] then wanted[#wanted + 1] = id end
  end
  local rows = rows_of(s, c, wanted)
  for i, id in ipairs(ids) do
    local p = numbers[i] and rows[id]
    if p and p[4] == numbers[i] then live[i], rows[id] = p, nil end
  end
  return live
end

-- Removes a deadline whose row has left the PEL.
local function forget_deadline(c, id)
  redis.call('ZREM', c.deadlines, sortable(id))
  redis.call('SREM', c.firsts, id)
end

-- Removes rows from the PEL, with their deadlines, and with their notes if the messages were acked. If max_ack_pending
-- was reached, it wakes the waiting calls. Returns whether no wake is needed any more.
local function take_out(s, c, ids, acked)
  if #ids == 0 then return true end
  redis.call('XACK', s.log, c.name, unpack(ids))
  if redis.call('EXISTS', c.deadlines, acked and c.notes or c.deadlines) > 0 then
    local members = {}
    for i, id in ipairs(ids) do members[i] = sortable(id) end
    redis.call('ZREM', c.deadlines, unpack(members))
    redis.call('SREM', c.firsts, unpack(ids))
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

-- Tokens come in groups of one epoch and delivery number, three arguments each: epoch, number, the message ids as a
-- JSON list. Returns the group's number (false = another epoch) and its ids.
local function group_at(c, args, at)
  return args[at] == c.epoch and tonumber(args[at + 1]), cjson.decode(args[at + 2])
end

-- Whether the ids are consecutive rows of the PEL, as when a worker acks the batch that it got: then all are live.
local function is_run(s, c, number, ids)
  local rows = number and redis.call('XPENDING', s.log, c.name, ids[1], ids[#ids], #ids) or {}
  for i, p in ipairs(rows) do
    if p[1] ~= ids[i] or p[4] ~= number then return false end
  end
  return #rows == #ids
end

-- Acks groups of tokens, from a position of the arguments on, and calls `freed` with the acked ids. Returns how many
-- were acked, the positions of the stale tokens among all, and the number of tokens.
local function ack_tokens(s, c, args, at, groups, freed)
  local count, stale, tokens = 0, {}, 0
  for group = 0, groups - 1 do
    local number, ids = group_at(c, args, at + 3 * group)
    local many = #ids
    if not is_run(s, c, number, ids) then
      local numbers, acked = {}, {}
      for i = 1, many do numbers[i] = number end
      local live = live_rows(s, c, ids, numbers)
      for i, id in ipairs(ids) do
        if live[i] then acked[#acked + 1] = id else stale[#stale + 1] = tokens + i end
      end
      ids = acked
    end
    take_out(s, c, ids, true)
    if freed then freed(s, c, ids) end
    count, tokens = count + #ids, tokens + many
  end
  return count, stale, tokens
end
