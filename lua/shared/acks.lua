-- acks: settling deliveries as done. Commands that ack and commands that ack and fetch share it.

-- Whether ids are a run of rows of the PEL, as a batch is that a caller was given and acks: then all are live.
local function is_run(s, c, number, ids)
  local rows = number and redis.call('XPENDING', s.log, c.name, ids[1], ids[#ids], #ids) or {}
  for i, p in ipairs(rows) do
    if p[1] ~= ids[i] or p[4] ~= number then return false end
  end
  return #rows == #ids
end

-- The ids of which `takes` is true, with their places, and the places of the others, counted from `before` on.
local function part(ids, takes, before, others)
  local taken = {}
  for i, id in ipairs(ids) do
    if takes(i, id) then taken[#taken + 1] = id else others[#others + 1] = before + i end
  end
  return taken
end

-- Ack groups of tokens from a position of the arguments on, one after the other, so a message is acked once. `freed` is
-- called with the ids that were. Returns how many were, the positions of the stale tokens among all, and how many tokens
-- there were.
local function ack_tokens(s, c, args, at, groups, freed)
  local count, stale, tokens = 0, {}, 0
  for group = 0, groups - 1 do
    local stamp, number, ids = group_at(c, args, at + 3 * group)
    local many, numbers, seen = #ids, {}, {}
    local leased = number and end_lease(c, stamp)
    if not leased and not is_run(s, c, number, ids) then
      for i = 1, many do numbers[i] = number end
      local live = live_rows(s, c, ids, numbers)
      ids = part(ids, function(i) return live[i] end, tokens, stale)
    end
    local gone = take_out(s, c, ids, true)
    if gone < #ids then -- those of a lease were all out, so some stand there twice
      ids = part(ids, function(_, id)
        local first = not seen[id]
        seen[id] = true
        return first
      end, tokens, stale)
    end
    if freed then freed(s, c, ids) end
    if c.leased then c.ours = c.ours - gone end
    count, tokens = count + gone, tokens + many
  end
  return count, stale, tokens
end
