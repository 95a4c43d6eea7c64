-- fence: which of the deliveries named by tokens are the live ones, and taking them out.

-- `rows` are {epoch, id, number, position}. Returns the live rows, each once, and the positions of the others. A row
-- gets `idle`, ms since its delivery. One range over the PEL answers for ids that lie together; what it did not
-- reach is asked for one by one.
local function fence(s, c, rows)
  local wanted, low, high = {}, nil, nil
  for _, row in ipairs(rows) do
    if row.epoch == c.epoch and not wanted[row.id] then
      row.member = sortable(row.id)
      wanted[row.id] = true
      if not low or row.member < low.member then low = row end
      if not high or row.member > high.member then high = row end
    end
  end
  local out, limit, reached = {}, 2 * #rows, nil
  if low then
    local pending = redis.call('XPENDING', s.log, c.name, low.id, high.id, limit)
    for _, p in ipairs(pending) do out[p[1]] = p end
    if #pending == limit then reached = sortable(pending[limit][1]) end
  end
  local live, stale, taken = {}, {}, {}
  for _, row in ipairs(rows) do
    local p
    if row.epoch == c.epoch and not taken[row.id] then
      p = out[row.id]
      if not p and reached and sortable(row.id) > reached then
        p = redis.call('XPENDING', s.log, c.name, row.id, row.id, 1)[1]
      end
    end
    if p and p[4] == row.number then
      row.idle, row.member, taken[row.id] = p[3], row.member or sortable(row.id), true
      live[#live + 1] = row
    else
      stale[#stale + 1] = row.position
    end
  end
  return live, stale
end

-- The tokens of ARGV from `first` to `last`, `stride` values each, of which the first three are epoch, id, number.
local function token_rows(args, first, last, stride)
  local rows = {}
  for i = first, last, stride do
    rows[#rows + 1] = {
      epoch = args[i], id = args[i + 1], number = tonumber(args[i + 2]), at = i, position = (i - first) / stride + 1,
    }
  end
  return rows
end

-- What an ack or a nack leaves behind: the rows out of the PEL, and a place under max_ack_pending for a waiting call.
-- Returns the ids, and whether a waiting call was told.
local function take_out(s, c, rows)
  if #rows == 0 then return {}, true end
  local ids, members = {}, {}
  for i, row in ipairs(rows) do
    ids[i] = row.id
    members[i] = row.member
  end
  redis.call('XACK', s.log, c.name, unpack(ids))
  redis.call('ZREM', c.deadlines, unpack(members))
  local full = c.full
  if full then
    redis.call('HDEL', c.key, 'full')
    c.full = nil
    wake(s, c.name)
  end
  return ids, full
end

-- Ack tokens of 3 arguments each, from ARGV[first] to ARGV[last]. Returns how many, and the positions of the stale ones.
local function ack_tokens(s, c, args, first, last)
  local live, stale = fence(s, c, token_rows(args, first, last, 3))
  local ids = take_out(s, c, live)
  if #ids > 0 then redis.call('HDEL', c.notes, unpack(ids)) end
  if c.keyed and #ids > 0 then free_keys(s, c, ids) end
  return #live, stale
end
