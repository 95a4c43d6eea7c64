-- ahead: messages that a consumer has not reached.

-- At most `count` of them after an id, in stream order, with their bodies.
local function entries_ahead(s, c, after, count)
  if not c.index then return entries_after(s.log, after, count) end
  local entries = {}
  for _, member in ipairs(redis.call('ZRANGEBYLEX', c.index, '(' .. sortable(after), '+', 'LIMIT', 0, count)) do
    local id = stream_id(member)
    entries[#entries + 1] = redis.call('XRANGE', s.log, id, id)[1]
  end
  return entries
end

-- Whether another message holds this ordering key.
local function is_blocked(s, c, key)
  return c.keyed and key ~= '' and redis.call('SISMEMBER', s.key .. KEY.busy .. c.name, key) == 1
end

-- Visits the messages that could be delivered for the first time now, in stream order, until `visit` returns false: not
-- those whose ordering key is busy, or taken by an earlier one of them, or whose time to live is over. It looks at
-- `looks` entries at most, fewer if they are large. Returns whether there may be more.
local function visit_free(s, c, looks, count, visit)
  local taken, looked, after = {}, 0, cursor_of(s, c)
  repeat
    local wanted = fitting(s, BYTES_A_CALL, count)
    local entries = entries_ahead(s, c, after, wanted)
    for _, entry in ipairs(entries) do
      local key = c.keyed and key_of(s, entry) or ''
      if not (taken[key] or is_blocked(s, c, key) or s.schedules and has_lapsed(s, entry[1])) then
        if not visit(entry) then return true end
        taken[key] = key ~= ''
      end
      after, looked = entry[1], looked + 1 + size_of(entry) / 10000
    end
  until #entries < wanted or looked >= looks
  return looked >= looks
end

-- How many messages, at most `wanted`, could be delivered for the first time now. What it does not look at counts.
local function num_free(s, c, wanted)
  if not c.keyed then return num_new(s, c) end
  local count = 0
  local more = visit_free(s, c, 500, 50, function()
    count = count + 1
    return count < wanted
  end)
  return more and wanted or count
end
