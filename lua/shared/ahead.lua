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
